"""Writing one index: shards go up while the prefill runs, the manifest last, and only if nobody was faster."""

from __future__ import annotations

import importlib.metadata
import logging
import math
import platform
import secrets
from datetime import UTC, datetime
from types import TracebackType

from videox2l.errors import AlreadyCommittedError, ArchiveError
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


class IndexWriter:
    """Writes one attempt at an index. Made by :meth:`videox2l.store.Archive.create_index`.

    As a context manager it aborts on an exception, and also if the block ends without :meth:`commit`. Not safe to use
    from several threads.
    """

    def __init__(self, storage: Storage, video: VideoIdentity, spec: IndexSpec) -> None:
        self.video = video
        self.spec = spec
        # The time makes leftovers of a crashed writer recognisable; the random part keeps writers apart.
        self.attempt = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(6)}"
        self._storage = storage
        self._folder = layout.attempt(video.video_id, spec.index_fp, self.attempt)
        self._uploads = UploadQueue(storage)
        self._open: dict[Level, ShardBuilder] = {level: self._builder(level, 0) for level in LEVELS}
        self._opened: dict[Level, int] = dict.fromkeys(LEVELS, 1)
        self._shards: list[ShardEntry] = []
        self._chunks: list[ChunkEntry] = []
        self._prompt: StoredKV | None = None
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
        builder = self._builder("prompt", 0)
        self._prompt = builder.add(kv)
        self._seal(builder)

    def append(self, chunk_index: int, start_s: float, end_s: float, frames: int, kvs: ChunkKV) -> None:
        """Store both levels of the next chunk.

        The KVs are copied before this returns. Full shards upload in the background; with several waiting, this waits.

        :param chunk_index: 0, 1, 2, … in order. The state after chunk i is defined by chunks up to i.
        :param start_s: presentation time of its first frame, in seconds; ``end_s`` that of its end.
        :param frames: sampled frames in the chunk.
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
        self._chunks.append(ChunkEntry(chunk_index, float(start_s), float(end_s), frames, stored))

    def commit(self) -> Manifest:
        """Finish all uploads and make the index visible.

        :raises AlreadyCommittedError: another writer committed the same index first; this attempt is deleted.
        :raises ArchiveNotWritableError: an upload failed; nothing is visible.
        """
        self._check_open()
        if self._prompt is None or not self._chunks:
            raise ValueError("an index needs its prompt and at least one chunk before it is committed")
        for level in LEVELS:
            self._seal(self._open[level])
        self._uploads.drain()
        manifest = Manifest(
            video=self.video,
            spec=self.spec,
            prompt=self._prompt,
            chunks=tuple(self._chunks),
            shards=tuple(self._shards),
            attempt=self.attempt,
            software=_software(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._commit_sent = True
        try:
            self._storage.create(manifest.path, manifest.to_json())
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
        except ArchiveError as error:
            # The index is committed; the catalog can be rebuilt from it at any time.
            logger.warning("The catalog has no row for %s: %s", manifest.path, error)
        return manifest

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
        if not self._open[level].has_room(kv):
            self._seal(self._open[level])
            self._open[level] = self._builder(level, self._opened[level])
            self._opened[level] += 1
        return self._open[level].add(kv)

    def _builder(self, part: Part, number: int) -> ShardBuilder:
        return ShardBuilder(self.spec, part, layout.shard(part, number))

    def _seal(self, builder: ShardBuilder) -> None:
        shard = builder.finish()
        self._shards.append(shard.entry)
        self._uploads.put(f"{self._folder}/{shard.entry.name}", shard.data)

    def _committed_attempt(self) -> str | None:
        """The attempt whose manifest is in place, or None if there is none."""
        path = layout.manifest(self.video.video_id, self.spec.index_fp)
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


def _software() -> dict[str, str]:
    """Versions of what shaped the stored bytes, for whoever investigates a difference later."""
    versions = {"python": platform.python_version()}
    for package in ("videox2l", "torch", "transformers", "pyarrow", "av"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # used from a source folder that is not installed
            continue
    return versions
