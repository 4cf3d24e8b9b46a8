"""The whole path from object storage to verified tensors, beside plain GETs of the same ranges."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass
from statistics import median

import torch

from pipelines.bench.local import CHUNKS, HEAD_DIM, KV_HEADS, LAYERS, write_index
from pipelines.bench.storage import FOLDER, PlainGets
from videox2l.kv import KV
from videox2l.store import Archive
from videox2l.store.async_reader import AsyncIndexReader
from videox2l.store.fetch import Fetcher
from videox2l.store.reads import plan_each
from videox2l.store.storage import Storage

# So that all chunks, with the few bytes around each, fit into one shard of 64 MiB.
_CHUNK_BYTES = 8 * 2**20 - 2**16


@dataclass(frozen=True)
class KVFigure:
    """``seconds``: median to read all chunks. ``ratio``: median, least and most speed as a share of plain GETs'."""

    bytes: int
    seconds: float
    ratio: float
    least: float
    most: float

    def __str__(self) -> str:
        return (
            f"{self.bytes / 2**20:.0f} MiB of low KVs in {CHUNKS} ranges into verified tensors: "
            f"{1000 * self.seconds:.1f} ms, {self.ratio:.0%} of plain GETs ({self.least:.0%} to {self.most:.0%})"
        )


def measure_kvs(url: str, repeats: int = 5, chunk_bytes: int = _CHUNK_BYTES) -> KVFigure:
    """Store an archive below ``url`` (``s3://…``), read its low KVs and the same ranges in turn, delete it again.

    :raises ~videox2l.errors.ArchiveError: the server refuses.
    """
    folder = f"{FOLDER}/{secrets.token_hex(6)}"
    try:
        return asyncio.run(_measure(Archive.open(f"{url}/{folder}", create=True), repeats, chunk_bytes))
    finally:
        Storage(url).delete_folder(FOLDER)


async def _measure(archive: Archive, repeats: int, chunk_bytes: int) -> KVFigure:
    tokens = max(1, chunk_bytes // (4 * LAYERS * KV_HEADS * HEAD_DIM))
    shape = (LAYERS, KV_HEADS, tokens, HEAD_DIM)
    manifest = write_index(archive, "raw", KV(torch.randn(shape).bfloat16(), torch.randn(shape).bfloat16())).manifest
    ranges = plan_each(manifest, "low", range(CHUNKS)).ranges
    [path] = {part.path for part in ranges}
    fetcher, plain = Fetcher(archive.storage), PlainGets(archive.storage, path)
    reader = AsyncIndexReader(fetcher, manifest)
    took: list[tuple[float, float]] = []
    try:
        for _ in range(repeats + 1):
            began = time.perf_counter()
            data = await asyncio.to_thread(plain.read, ranges, CHUNKS)
            between = time.perf_counter()
            kvs = await reader.low_many(range(CHUNKS))
            took.append((between - began, time.perf_counter() - between))
            del data, kvs
    finally:
        plain.close()
        await fetcher.aclose()
    del took[0]  # it made the connections
    ratios = [yardstick / own for yardstick, own in took]
    size = sum(part.length for part in ranges)
    return KVFigure(size, median(own for _, own in took), median(ratios), min(ratios), max(ratios))
