"""Low KVs on their way to questions: from memory, from a local disk, or from storage, each chunk once however many ask.

Whatever comes from a disk or from storage is checked against the manifest's checksum. A copy on the disk that does not
pass is dropped, and the chunk is fetched from storage again.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from mmap import mmap
from typing import Literal

from videox2l.errors import CorruptDataError
from videox2l.kv import KV
from videox2l.store.byte_cache import ByteCache, CacheStats
from videox2l.store.disk_cache import DiskCache
from videox2l.store.manifest import Manifest
from videox2l.store.reader import Fetch, shard_missing
from videox2l.store.reads import ReadPlan, decode_piece, plan_each

Origin = Literal["memory", "disk", "storage"]

# Chunks under way at once; each waits for storage most of the time. As many requests as a Fetcher has in flight.
_THREADS = 16


@dataclass(frozen=True)
class LowChunk:
    """Low KVs of a chunk, as CPU tensors not to be changed, and where they were."""

    kv: KV
    origin: Origin


class LowChunks:
    """Low KVs of an archive's videos. Safe to use from several threads."""

    def __init__(self, url: str, fetch: Fetch, *, memory_bytes: int, disk: DiskCache | None = None) -> None:
        """``url`` names the archive in a folder of copies that it may share with others."""
        self._url, self._fetch, self._disk = url, fetch, disk
        self._memory: ByteCache[str, KV] = ByteCache(lambda kv: kv.nbytes, memory_bytes)
        self._threads: Executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="videox2l-low")

    def start(self, manifest: Manifest, chunks: Iterable[int]) -> dict[int, Future[LowChunk]]:
        """Begin to load ``chunks``, all at once. What has begun ends in the caches, whether or not it is waited for.

        The futures raise :class:`CorruptDataError` and :class:`~videox2l.errors.ArchiveError`.
        """
        started: dict[int, Future[LowChunk]] = {}
        for chunk in chunks:
            try:
                plan = plan_each(manifest, "low", [chunk])
            except CorruptDataError as error:  # removed on purpose
                started[chunk] = Future()
                started[chunk].set_exception(error)
                continue
            name = self._name(plan)
            if (kv := self._memory.find(name)) is not None:
                started[chunk] = Future()
                started[chunk].set_result(LowChunk(kv, "memory"))
            else:
                started[chunk] = self._threads.submit(self._load, manifest, plan, name)
        return started

    def stats(self) -> dict[str, CacheStats]:
        """Of the ``low_memory`` and the ``low_disk`` cache."""
        disk = CacheStats(0, 0, 0, 0)
        if self._disk is not None:
            disk = CacheStats(0, self._disk.total, self._disk.hits, self._disk.misses)
        return {"low_memory": self._memory.stats(), "low_disk": disk}

    def close(self) -> None:
        """End the threads once they have finished what they are at."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _load(self, manifest: Manifest, plan: ReadPlan, name: str) -> LowChunk:
        origin: Origin = "memory"  # another question may be loading it already

        def load() -> KV:
            nonlocal origin
            if (kv := self._from_disk(manifest, plan, name)) is not None:
                origin = "disk"
                return kv
            origin = "storage"
            return self._from_storage(manifest, plan, name)

        return LowChunk(self._memory.get(name, load), origin)

    def _from_disk(self, manifest: Manifest, plan: ReadPlan, name: str) -> KV | None:
        if self._disk is None or (data := self._disk.get(name)) is None:
            return None
        try:
            return decode_piece(manifest, plan, plan.pieces[0], data)
        except CorruptDataError:
            self._disk.drop(name)
            return None

    def _from_storage(self, manifest: Manifest, plan: ReadPlan, name: str) -> KV:
        try:
            [data] = self._fetch(plan.ranges)
        except FileNotFoundError as error:
            raise shard_missing(manifest, error) from error
        if isinstance(data, memoryview) and isinstance(data.obj, mmap):
            data = bytes(data)  # a view would follow changes of the file after its checksum was taken
        kv = decode_piece(manifest, plan, plan.pieces[0], data)
        if self._disk is not None:
            self._disk.put(name, data)
        return kv

    def _name(self, plan: ReadPlan) -> str:
        """Never that of other bytes: it holds their checksum."""
        [piece], [place] = plan.pieces, plan.ranges
        return f"{self._url}\n{place.path}\n{piece.stored.offset}\n{piece.stored.checksum}"
