"""Writing one index: shards go up while the prefill runs, the manifest last, and only if nobody was faster."""

from __future__ import annotations

import importlib.metadata
import logging
import math
import platform
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType

from videox2l.errors import AlreadyCommittedError, ArchiveError, ArchiveNotWritableError
from videox2l.identity import VideoIdentity
from videox2l.kv.chunk import KV, LEVELS, ChunkKV, Level
from videox2l.store import catalog, layout
from videox2l.store.layout import Part
from videox2l.store.manifest import ChunkEntry, Manifest, ShardEntry, StoredKV
from videox2l.store.shard import ShardBuilder
from videox2l.store.spec import IndexSpec
from videox2l.store.storage import Storage
from videox2l.store.uploads import UploadQueue

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

    As a context manager it aborts on an exception, and also if the block ends without :meth:`commit`. Not safe to use
    from several threads.
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
    ) -> None:
        self.video = video
        self.spec = spec
        self._base = base
        self._replaces = tuple(replaces)
        self._recorded_at = recorded_at
        # The time makes leftovers of a crashed writer recognisable; the random part keeps writers apart.
        self.attempt = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(6)}"
        self._storage = storage
        self._folder = layout.attempt(video.video_id, spec.index_fp, self.attempt)
        self._uploads = UploadQueue(storage)
        kept = base.manifest if base is not None and base.keep else None
        self._kept = kept.shards if kept is not None else ()
        self._sealed: dict[int, ShardEntry] = dict(enumerate(self._kept))
        self._next_shard = len(self._kept)
        self._opened: dict[Part, int] = {"prompt": 0, "low": 0, "high": 0}
        self._open: dict[Level, ShardBuilder] = {}
        self._chunks: list[ChunkEntry] = list(kept.chunks[: base.keep]) if kept is not None and base is not None else []
        self._prompt: StoredKV | None = kept.prompt if kept is not None else None
        self._finished = False
        self._commit_sent = False

    def put_prompt(self, kv: KV) -> None:
        """Store the prompt's KVs, [layers, KV heads, tokens, head dimension] of the spec's dtype. Once, at any time.

        :raises ArchiveNotWritableError: an upload failed.
        """
        self._check_open()
        if self._prompt is not None:
            raise ValueError("the prompt is already stored")
        self._check_kv(kv, "prompt")
        builder = self._builder("prompt")
        self._prompt = builder.add(kv)
        self._seal(builder)

    @property
    def chunks(self) -> int:
        """Chunks stored so far, kept ones included: the next one's number."""
        return len(self._chunks)

    def append(
        self, chunk_index: int, start_s: float, end_s: float, frames: int, kvs: ChunkKV, frames_checksum: str = ""
    ) -> None:
        """Store both levels of the next chunk.

        The KVs are copied before this returns. Full shards upload in the background; with several waiting, this waits.

        :param chunk_index: 0, 1, 2, … in order. The state after chunk i is defined by chunks up to i.
        :param start_s: presentation time of its first frame, in seconds; ``end_s`` that of its end.
        :param frames: sampled frames in the chunk; ``frames_checksum`` as in :class:`ChunkEntry`.
        :param kvs: each level [layers, KV heads, tokens, head dimension], on any device; no tokens are fine.
        :raises ArchiveNotWritableError: an earlier upload failed.
        """
        self._check_open()
        if chunk_index != len(self._chunks):
            raise ValueError(f"chunks come in order: expected {len(self._chunks)}, got {chunk_index}")
        if not (math.isfinite(start_s) and math.isfinite(end_s) and start_s <= end_s):
            raise ValueError(f"chunk {chunk_index} cannot span {start_s} to {end_s} seconds")
        self._uploads.raise_errors()
        for level in LEVELS:
            self._check_kv(kvs[level], f"chunk {chunk_index}, level {level}")
        stored = {level: self._add(level, kvs[level]) for level in LEVELS}
        entry = ChunkEntry(chunk_index, float(start_s), float(end_s), frames, stored, frames_checksum)
        self._chunks.append(entry)

    def commit(self) -> Manifest:
        """Finish all uploads and make the index visible.

        :raises AlreadyCommittedError: another writer committed the same index first; this attempt is deleted.
        :raises ArchiveNotWritableError: an upload failed; nothing is visible.
        """
        self._check_open()
        if self._prompt is None or not self._chunks:
            raise ValueError("an index needs its prompt and at least one chunk before it is committed")
        for builder in self._open.values():
            self._seal(builder)
        self._uploads.drain()
        self._check_stored()
        manifest = self._manifest(self._prompt)
        if self._base is not None:
            catalog.delete(self._storage, manifest)
        self._commit_sent = True
        try:
            if self._base is None:
                self._storage.create(manifest.path, manifest.to_json())
            else:
                self._storage.swap(manifest.path, manifest.to_json(), self._base.version)
        except (FileExistsError, ArchiveError) as error:
            # A request whose answer was lost is sent again, and then meets its own manifest.
            winner = self._committed_attempt()
            if winner is None:
                raise
            if winner != self.attempt:
                self.abort()
                raise AlreadyCommittedError(
                    f"{self.video.name}: another writer committed this index first ({manifest.path}). "
                    "Nothing is lost; use that one."
                ) from error
        self._finished = True
        try:
            catalog.write(self._storage, manifest)
            for obsolete in self._replaces:
                self._hide(obsolete)
        except ArchiveError as error:
            # The index is committed and hides what it replaces; `gc` and `ls` do the rest at any time.
            logger.warning("The catalog is not up to date with %s: %s", manifest.path, error)
        return manifest

    def _manifest(self, prompt: StoredKV) -> Manifest:
        """What is committed. Of a base's shards only those that are still used stay in it."""
        used = {prompt.shard} | {kv.shard for chunk in self._chunks for kv in chunk.levels.values()}
        number = {old: new for new, old in enumerate(sorted(used))}
        chunks = [
            replace(chunk, levels={level: renumber(kv, number) for level, kv in chunk.levels.items()})
            for chunk in self._chunks
        ]
        return Manifest(
            video=self.video,
            spec=self.spec,
            prompt=renumber(prompt, number),
            chunks=tuple(chunks),
            shards=tuple(self._sealed[old] for old in sorted(used)),
            attempt=self.attempt,
            software=_software(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            recorded_at=self._recorded_at,
            replaces=tuple(manifest.attempt for manifest in self._replaces),
        )

    def _check_stored(self) -> None:
        """All shards are there, in full, before anyone is told of them: a sweep may have taken a writer for dead."""
        stored = {info.path: info.size for info in self._storage.files(self._folder)}
        for number in range(len(self._kept), self._next_shard):
            entry = self._sealed[number]
            if stored.get(f"{self._folder}/{entry.name}") != entry.size:
                raise ArchiveNotWritableError(
                    f"{self._folder}/{entry.name} is not stored as it was written. Another program may have deleted "
                    "it, or the storage lost it; nothing was committed. Ingest the video again."
                )

    def abort(self) -> None:
        """Stop uploading and delete this attempt. Does nothing after a commit; never raises for storage errors."""
        if self._finished:
            return
        self._finished = True
        self._uploads.cancel()
        try:
            # Once the manifest was sent it may still arrive, whatever the error was; its shards must then be there.
            if self._commit_sent and self._committed_attempt() in (None, self.attempt):
                logger.warning("Left %s in place: its commit may have been received", self._folder)
                return
            self._storage.delete_folder(self._folder)
        except ArchiveError as error:
            logger.warning("Could not delete the aborted attempt %s: %s", self._folder, error)

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _add(self, level: Level, kv: KV) -> StoredKV:
        if level in self._open and not self._open[level].has_room(kv):
            self._seal(self._open.pop(level))
        if level not in self._open:
            self._open[level] = self._builder(level)
        return self._open[level].add(kv)

    def _builder(self, part: Part) -> ShardBuilder:
        number, self._next_shard = self._next_shard, self._next_shard + 1
        name = layout.shard(part, self._opened[part])
        self._opened[part] += 1
        return ShardBuilder(self.spec, part, number, self.attempt, name)

    def _seal(self, builder: ShardBuilder) -> None:
        shard = builder.finish()
        self._sealed[builder.number] = shard.entry
        self._uploads.put(f"{self._folder}/{shard.entry.name}", shard.data)

    def _hide(self, obsolete: Manifest) -> None:
        """Remove manifest and row of an index that was replaced. Its files stay for their readers, until `gc`."""
        if self._committed_attempt(obsolete.index_fp) == obsolete.attempt:
            catalog.delete(self._storage, obsolete)
            self._storage.delete(obsolete.path)

    def _committed_attempt(self, index_fp: str | None = None) -> str | None:
        """The attempt whose manifest is in place (of this index, or that one), or None if there is none."""
        path = layout.manifest(self.video.video_id, index_fp or self.spec.index_fp)
        try:
            return Manifest.from_json(self._storage.read(path), path).attempt
        except FileNotFoundError:
            return None

    def _check_open(self) -> None:
        if self._finished:
            raise ValueError("this writer is finished: it was committed or aborted")

    def _check_kv(self, kv: KV, what: str) -> None:
        spec = self.spec
        layers, heads, _, dim = kv.keys_LHTD.shape
        found = (layers, heads, dim, str(kv.keys_LHTD.dtype).removeprefix("torch."))
        values = str(kv.values_LHTD.dtype).removeprefix("torch.")
        wanted = (spec.layers, spec.kv_heads, spec.head_dim, spec.dtype)
        if found != wanted or values != spec.dtype:
            raise ValueError(
                f"{what}: (layers, KV heads, head dimension, dtype) is {found}, values {values}; the spec says {wanted}"
            )


def renumber(kv: StoredKV, number: Mapping[int, int]) -> StoredKV:
    """``kv`` in a list of shards where old number n has become ``number[n]``."""
    return replace(kv, shard=number[kv.shard])


def _software() -> dict[str, str]:
    """Versions of what shaped the stored bytes, for whoever investigates a difference later."""
    versions = {"python": platform.python_version()}
    for package in ("videox2l", "torch", "transformers", "pyarrow", "av"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # used from a source folder that is not installed
            continue
    return versions
