"""Memories put together from an index without selection, and archives that lack something."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from videox2l.kv import KV, Level, MixedKV, mix
from videox2l.models import KVCompressibleModel
from videox2l.store import Archive, IndexReader, Manifest, StoredKV
from videox2l.store.retention import Expiry, expire


def mixed(model: KVCompressibleModel, reader: IndexReader, levels: Mapping[int, Level]) -> MixedKV:
    """Exactly these chunks, each at its level."""

    def read(chunk: int, level: Level) -> KV:
        return reader.low(chunk) if level == "low" else reader.high([chunk])[0]

    parts = [read(chunk, level) for chunk, level in sorted(levels.items())]
    return mix(reader.prompt(), parts, lambda count, dtype: model.rope_tables(0, count, dtype))


def assert_equal(a: MixedKV, b: MixedKV) -> None:
    """Bit for bit."""
    assert (a.prompt_tokens, a.chunk_slices) == (b.prompt_tokens, b.chunk_slices)
    assert torch.equal(a.keys_LHTD, b.keys_LHTD)
    assert torch.equal(a.values_LHTD, b.values_LHTD)


def recorded(archive: Archive, reader: IndexReader, start: str) -> IndexReader:
    """The same index with the time when its recording began."""
    archive.swap_manifest(reader.manifest, dataclasses.replace(reader.manifest, recorded_at=start))
    return archive.open_index(reader.manifest.video.video_id)


def flip_byte(archive: Archive, manifest: Manifest, kv: StoredKV) -> None:
    """Change one bit in the middle of a stored KV."""
    with (Path(archive.url) / manifest.shard_path(kv.shard)).open("r+b") as file:
        file.seek(kv.offset + kv.length // 2)
        [byte] = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def _flip(archive: Archive, manifest: Manifest) -> set[int]:
    flip_byte(archive, manifest, manifest.chunks[3].levels["low"])
    return {3}


def _cut(archive: Archive, manifest: Manifest) -> set[int]:
    kv = manifest.chunks[3].levels["low"]
    path = Path(archive.url) / manifest.shard_path(kv.shard)
    path.write_bytes(path.read_bytes()[: kv.offset + 100])
    return {3, 4}


def _lose(archive: Archive, manifest: Manifest) -> set[int]:
    for number, shard in enumerate(manifest.shards):
        if shard.part == "low":
            (Path(archive.url) / manifest.shard_path(number)).unlink()
    return set(range(5))


def _expire(archive: Archive, manifest: Manifest) -> set[int]:
    expire(archive, Expiry(manifest, "low", manifest.totals["low"].bytes))
    return set(range(5))


LOSSES: dict[str, tuple[Callable[[Archive, Manifest], set[int]], str]] = {
    "a byte changed": (_flip, "checksum"),
    "a shard cut short": (_cut, "low-00000.arrow"),
    "a shard lost": (_lose, "missing"),
    "removed by retention": (_expire, "removed on"),
}
"""How low KVs of a video of five chunks go; each returns which, and the reason says this."""
