"""Writing one index: shards go up while the prefill runs, the manifest last, and only if nobody was faster.

A journal in between lets another writer go on from there: see :mod:`videox2l.store.journal`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import numpy as np

from videox2l.errors import AlreadyCommittedError, ArchiveError, ConfigError, VideoError
from videox2l.identity import RetrieverIdentity, VideoIdentity
from videox2l.kv.chunk import KV, LEVELS, ChunkKV
from videox2l.store import catalog, commit, journal, layout, software, source_notes
from videox2l.store.contents import Contents
from videox2l.store.entries import ChunkEntry
from videox2l.store.journal import JournalKeeper
from videox2l.store.manifest import Manifest
from videox2l.store.metadata import Alias, MetadataValue
from videox2l.store.open_shards import OpenShards
from videox2l.store.spec import IndexSpec
from videox2l.store.storage import Storage
from videox2l.store.thumbnails import check_thumbnail
from videox2l.store.uploads import UploadQueue
from videox2l.store.vectors import encode_vectors

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Base:
    """The committed index that a writer's commit takes the place of, in one step.

    ``version``: of its manifest file, so that nobody else's commit is overwritten. ``keep``: how many chunks of
    ``manifest`` the new index begins with, without storing them again; without one, none.
    """

    version: str
    manifest: Manifest | None = None
    keep: int = 0


class IndexWriter:
    """Writes one attempt at an index. Made by :meth:`videox2l.store.Archive.create_index` and its siblings.

    As a context manager it aborts if the block ends without :meth:`commit`, and on an exception; but where a journal
    was stored and the exception is not the video's fault, that stays for :meth:`resume`. Not safe to use from several
    threads.
    """

    def __init__(
        self,
        storage: Storage,
        video: VideoIdentity,
        spec: IndexSpec,
        *,
        base: Base | None = None,
        replaces: Sequence[Manifest] = (),
        recorded_at: str | None = None,
        metadata: Mapping[str, MetadataValue] | None = None,
        aliases: Sequence[Alias] = (),
    ) -> None:
        self.video = video
        self.spec = spec
        self._base = base
        self._replaces = tuple(replaces)
        self._recorded_at = recorded_at
        self._metadata = dict(metadata or {})
        self._aliases = tuple(aliases)
        self.attempt = layout.new_attempt()
        self._storage = storage
        self._folder = layout.attempt(video.video_id, spec.index_fp, self.attempt)
        self._uploads = UploadQueue(storage)
        kept = base.manifest if base is not None and base.keep else None
        self._contents = Contents()
        if kept is not None and base is not None:
            self._contents = Contents.of(kept.prompt, kept.chunks[: base.keep], kept.shards)
        self._shards = OpenShards(spec, self._folder, self.attempt, self._uploads, self._contents)
        self._retriever = None if kept is None else kept.retriever
        self._journal: JournalKeeper | None = None
        self._inherited: frozenset[str] = frozenset()
        self._finished = False
        self._commit_sent = False

    def keep_journal(self, every_s: float) -> None:
        """Store a journal every ``every_s`` seconds, with the chunk that ends then; 0: with every chunk.

        What is lost with this process is then as many seconds of work, and what was still waiting to be uploaded.
        Shards end with each journal, so where little is stored in that time they are smaller than they could be.
        """
        self._journal = JournalKeeper(self._uploads, self.video.video_id, self.spec.index_fp, self.attempt, every_s)

    def shared_out(self, ranks: int) -> None:
        """Say that what is stored from now on was computed by so many ranks, which shared out the KV heads.

        For the record: KVs hold all heads in any case. What was kept or resumed keeps its own record.

        :raises ConfigError: the heads cannot be shared out so.
        """
        self._check_open()
        self._shards.share_out(ranks)

    def retrieved_by(self, retriever: RetrieverIdentity | None) -> None:
        """Say whose vectors chunks come with, if any. Before anything is stored or resumed.

        :raises ConfigError: the chunks that the index begins with have those of another.
        """
        self._check_open()
        if self.chunks and retriever != self._retriever:
            had = "no retriever" if self._retriever is None else f"the retriever {self._retriever.name}"
            raise ConfigError(
                f"{self.video.name} was ingested with {had}. To go on, give the same one with --retriever, or ingest "
                "it again with --replace."
            )
        self._retriever = retriever

    def resume(self, unfinished: Manifest) -> bool:
        """Begin with all chunks of ``unfinished``, one of :meth:`~videox2l.store.Archive.unfinished`.

        False if they are not to be had any more, or do not begin as this index does; then nothing has changed.

        :raises ArchiveError: the storage does not answer.
        """
        self._check_open()
        if self._shards.any_begun:
            raise ValueError("a writer resumes before it stores anything of its own")
        stored = Contents.of(unfinished.prompt, unfinished.chunks, unfinished.shards)
        if unfinished.retriever != self._retriever:
            return False
        if not stored.begins_with(self._contents) or not journal.claim(self._storage, unfinished, self.attempt):
            return False
        base = self._base.manifest if self._base is not None else None
        committed = base.attempts if base is not None else set()
        self._inherited = frozenset((unfinished.attempts | {unfinished.attempt}) - committed)
        self._contents = stored
        self._shards.begin_behind(stored)
        return True

    def put_prompt(self, kv: KV) -> None:
        """Store the prompt's KVs, [layers, KV heads, tokens, head dimension] of the spec's dtype. Once, at any time.

        :raises ArchiveNotWritableError: an upload failed.
        """
        self._check_open()
        if self._contents.prompt is not None:
            raise ValueError("the prompt is already stored")
        self.spec.check(kv, "prompt")
        self._contents.prompt = self._shards.put_prompt(kv)

    @property
    def chunks(self) -> int:
        """Chunks stored so far, kept ones included: the next one's number."""
        return len(self._contents.chunks)

    def append(
        self,
        chunk_index: int,
        start_s: float,
        end_s: float,
        frames: int,
        kvs: ChunkKV,
        frames_checksum: str = "",
        thumbnail: bytes | None = None,
        vectors: np.ndarray | None = None,
    ) -> None:
        """Store both levels of the next chunk.

        The KVs are copied before this returns. Full shards upload in the background; with several waiting, this waits.

        :param chunk_index: 0, 1, 2, … in order. The state after chunk i is defined by chunks up to i.
        :param start_s: presentation time of its first frame, in seconds; ``end_s`` that of its end.
        :param frames: sampled frames in the chunk; ``frames_checksum`` as in :class:`ChunkEntry`.
        :param kvs: each level [layers, KV heads, tokens, head dimension], on any device; no tokens are fine.
        :param thumbnail: a small JPEG of it for people.
        :param vectors: what the retriever of :meth:`retrieved_by` makes of it, [n, dimension].
        :raises ArchiveNotWritableError: an earlier upload failed.
        """
        self._check_open()
        if chunk_index != self.chunks:
            raise ValueError(f"chunks come in order: expected {self.chunks}, got {chunk_index}")
        if not (math.isfinite(start_s) and math.isfinite(end_s) and start_s <= end_s):
            raise ValueError(f"chunk {chunk_index} cannot span {start_s} to {end_s} seconds")
        self._uploads.raise_errors()
        for level in LEVELS:
            self.spec.check(kvs[level], f"chunk {chunk_index}, level {level}")
        if thumbnail is not None:
            check_thumbnail(thumbnail)
        encoded = None if vectors is None else encode_vectors(vectors, self._retriever)
        stored = {level: self._shards.put(level, kvs[level]) for level in LEVELS}
        picture = self._shards.attach("thumbnails", chunk_index, thumbnail)
        known_by = self._shards.attach("vectors", chunk_index, encoded)
        entry = ChunkEntry(
            chunk_index, float(start_s), float(end_s), frames, stored, frames_checksum, picture, known_by
        )
        self._contents.chunks.append(entry)
        if self._journal is not None and self._journal.is_due:
            self._store_journal(self._journal)

    def check_source(self, source: str | Path) -> None:
        """Before the commit: what was decoded from ``source`` is the video that this index is of.

        :raises SourceChangedError: the file was overwritten or removed since it was identified.
        """
        source_notes.check_unchanged(self._storage, source, self.video)

    def commit(self) -> Manifest:
        """Finish all uploads and make the index visible.

        :raises AlreadyCommittedError: another writer committed the same index first; this attempt is deleted.
        :raises ArchiveNotWritableError: an upload failed; nothing is visible.
        """
        self._check_open()
        if self._contents.prompt is None or not self._contents.chunks:
            raise ValueError("an index needs its prompt and at least one chunk before it is committed")
        self._shards.close()
        self._uploads.drain()
        storage, index = self._storage, (self.video.video_id, self.spec.index_fp)
        commit.check_stored(storage, index, self._inherited | {self.attempt}, self._contents.shards.values())
        manifest = self._manifest(self._contents)
        catalog.announce(storage, manifest, anew=self._base is None)
        self._commit_sent = True
        if not commit.put_in_place(storage, manifest, None if self._base is None else self._base.version):
            self.abort()
            raise AlreadyCommittedError(
                f"{self.video.name}: another writer committed this index first ({manifest.path}). "
                "Nothing is lost; use that one."
            )
        self._finished = True
        journals = self._inherited | ({self.attempt} if self._may_have_heirs else set())
        commit.tidy_up(storage, manifest, self._replaces, journals)
        return manifest

    def _manifest(self, contents: Contents) -> Manifest:
        """What is committed. Of a base's shards only those that are still used stay in it."""
        prompt, chunks, shards = contents.settled()
        return Manifest(
            video=self.video,
            spec=self.spec,
            prompt=prompt,
            chunks=chunks,
            shards=shards,
            attempt=self.attempt,
            software=software.versions(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            recorded_at=self._recorded_at,
            metadata=self._metadata,
            aliases=self._aliases,
            replaces=tuple(sorted(attempt for old in self._replaces for attempt in {old.attempt, *old.attempts})),
            retriever=self._retriever,
        )

    @property
    def _may_have_heirs(self) -> bool:
        return self._journal is not None and self._journal.sent

    def _store_journal(self, keeper: JournalKeeper) -> None:
        """Close the open shards, and store the journal behind them."""
        self._shards.close()
        contents = self._contents.copy()
        keeper.store(lambda: self._manifest(contents).to_json())

    def suspend(self) -> None:
        """Stop, and leave what there is for :meth:`resume`.

        Where no journal is kept, or nothing new was stored, it is as :meth:`abort`. Never raises for storage errors.
        """
        if self._finished:
            return
        if self._journal is None or not self._shards.any_begun or not self.chunks:
            self.abort()
            return
        try:
            self._store_journal(self._journal)
            self._uploads.drain()
        except ArchiveError as error:
            logger.warning("What was done last of %s could not be stored: %s", self.video.name, error)
        self._leave()

    def _leave(self) -> None:
        self._finished = True
        self._uploads.cancel()

    def abort(self) -> None:
        """Stop uploading and delete this attempt. Does nothing after a commit; never raises for storage errors."""
        if self._finished:
            return
        self._finished = True
        self._uploads.cancel()
        key = (self.video.video_id, self.spec.index_fp, self.attempt)
        try:
            # Once the manifest was sent it may still arrive, whatever the error was; its shards must then be there.
            if self._commit_sent and commit.committed_attempt(self._storage, key[:2]) in (None, self.attempt):
                logger.warning("Left %s in place: its commit may have been received", self._folder)
                return
            if self._may_have_heirs:
                if not journal.withdraw(self._storage, *key):
                    logger.info("Left %s to another writer, which goes on from there", self._folder)
                    return
                self._storage.delete(layout.journal(*key))
            self._storage.delete_folder(self._folder)
        except ArchiveError as error:
            logger.warning("Could not delete the aborted attempt %s: %s", self._folder, error)

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A video that is at fault will be so again; what ended anything else may have gone by the next time.
        resumable = self._journal is not None and self._journal.stored
        if resumable and error is not None and not isinstance(error, VideoError):
            self._leave()
        else:
            self.abort()

    def _check_open(self) -> None:
        if self._finished:
            raise ValueError("this writer is finished: it was committed or aborted")
