"""Reading one committed index: the high level in a few large requests, each low chunk in exactly one."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence

from videox2l.errors import CorruptDataError
from videox2l.kv.chunk import KV, Level
from videox2l.store.documents import checksum
from videox2l.store.layout import Part
from videox2l.store.manifest import Manifest, StoredKV
from videox2l.store.shard import decode
from videox2l.store.storage import Range, Storage


class IndexReader:
    """Reads KVs of one index. Made by :meth:`videox2l.store.Archive.open_index`.

    Every read is verified against the manifest's checksum. KVs come as CPU tensors, [layers, KV heads, tokens, head
    dimension] in the stored dtype, that view the bytes read: treat them as read-only. Nothing is cached here. Safe to
    use from several threads and after a fork; calls block, so keep them out of coroutines.

    All reads raise :class:`CorruptDataError` (bytes changed, cut short or missing) and
    :class:`~videox2l.errors.ArchiveError` (storage not reachable).
    """

    def __init__(self, storage: Storage, manifest: Manifest) -> None:
        self.manifest = manifest
        self._storage = storage
        self._counts: dict[Part, int] = {"prompt": 0, "low": 0, "high": 0}
        self._lock = threading.Lock()

    @property
    def bytes_read(self) -> dict[Part, int]:
        """Bytes fetched so far for the prompt and each level."""
        with self._lock:
            return dict(self._counts)

    def prompt(self) -> KV:
        """KVs of the prompt before the video."""
        return self._single("prompt", [(self.manifest.prompt, "the prompt")])[0]

    def high(self) -> list[KV]:
        """High-level KVs of all chunks, in order. One request a shard, all at once."""
        return self._whole_shards("high")

    def low(self, chunk_index: int) -> KV:
        """Low-level KVs of one chunk, in one ranged request.

        :raises IndexError: there is no such chunk.
        """
        return self.low_many([chunk_index])[chunk_index]

    def low_many(self, chunk_indices: Iterable[int]) -> dict[int, KV]:
        """Low-level KVs of these chunks by their index. One ranged request each, all at once.

        :raises IndexError: there is no such chunk.
        """
        wanted: dict[int, tuple[StoredKV, str]] = {}
        for index in chunk_indices:
            if not 0 <= index < len(self.manifest.chunks):
                raise IndexError(f"chunk {index} does not exist: the video has {len(self.manifest.chunks)} chunks")
            wanted[index] = (self.manifest.chunks[index].levels["low"], f"chunk {index}")
        return dict(zip(wanted, self._single("low", list(wanted.values())), strict=True))

    def verify(self) -> None:
        """Read every file of the index whole and compare size and checksum, also of bytes no other read touches.

        :raises CorruptDataError: naming all damaged files.
        """
        damaged = []
        for shard in self.manifest.shards:
            path = self.manifest.shard_path(shard.name)
            try:
                data = self._storage.read(path)
            except FileNotFoundError:
                damaged.append(f"{path} is missing")
                continue
            if len(data) != shard.size or checksum(data) != shard.checksum:
                damaged.append(f"{path} does not match its checksum ({len(data)} of {shard.size} bytes)")
        if damaged:
            raise CorruptDataError(f"{'; '.join(damaged)}. Ingest the video again.")

    def _single(self, part: Part, wanted: Sequence[tuple[StoredKV, str]]) -> list[KV]:
        """One range a KV."""
        ranges = [Range(self.manifest.shard_path(kv.shard), kv.offset, kv.length) for kv, _ in wanted]
        found = self._fetch(part, ranges)
        return [
            decode(data, kv, self.manifest.spec, part, f"{place.path}, {name}")
            for data, (kv, name), place in zip(found, wanted, ranges, strict=True)
        ]

    def _whole_shards(self, level: Level) -> list[KV]:
        """One range a shard, from its first KV to its last; the KVs are views into it."""
        by_shard: dict[str, list[tuple[int, StoredKV]]] = defaultdict(list)
        for chunk in self.manifest.chunks:
            by_shard[chunk.levels[level].shard].append((chunk.index, chunk.levels[level]))
        ranges = []
        for name, members in by_shard.items():
            start = min(kv.offset for _, kv in members)
            end = max(kv.offset + kv.length for _, kv in members)
            ranges.append(Range(self.manifest.shard_path(name), start, end - start))
        found: dict[int, KV] = {}
        for data, place, members in zip(self._fetch(level, ranges), ranges, by_shard.values(), strict=True):
            view = memoryview(data)
            for index, kv in members:
                begin = kv.offset - place.offset
                where = f"{place.path}, chunk {index}"
                found[index] = decode(view[begin : begin + kv.length], kv, self.manifest.spec, level, where)
        return [found[chunk.index] for chunk in self.manifest.chunks]

    def _fetch(self, part: Part, ranges: Sequence[Range]) -> list[bytes]:
        try:
            found = self._storage.read_ranges(ranges)
        except FileNotFoundError as error:
            raise CorruptDataError(
                f"{self.manifest.path}: a shard that it names is missing ({error}). Ingest the video again."
            ) from error
        with self._lock:
            self._counts[part] += sum(len(data) for data in found)
        return found
