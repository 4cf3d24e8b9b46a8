"""Low KVs through memory, disk and storage: one fetch a chunk, and nothing that was not checked."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tests.archives import random_index
from tests.unit.answering.by_hand import LOSSES
from videox2l.errors import CorruptDataError
from videox2l.kv import KV
from videox2l.models import KVCompressibleModel
from videox2l.store import Archive, IndexReader
from videox2l.store.disk_cache import DiskCache
from videox2l.store.low_chunks import LowChunks
from videox2l.store.storage import Range

ENOUGH = 2**26


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.open(tmp_path / "archive", create=True)


@pytest.fixture
def reader(archive: Archive, random_model: KVCompressibleModel) -> IndexReader:
    return random_index(archive, random_model)


class Fetch:
    """Reads from the archive's storage, and counts."""

    def __init__(self, reader: IndexReader, delay_s: float = 0.0) -> None:
        self.ranges: list[Range] = []
        self._storage, self._delay_s = reader.storage, delay_s

    def __call__(self, ranges: Sequence[Range]) -> Sequence[bytes | memoryview]:
        self.ranges += ranges
        time.sleep(self._delay_s)
        return self._storage.read_ranges(ranges)


def read(low: LowChunks, reader: IndexReader, *chunks: int) -> tuple[list[KV], list[str]]:
    """The KVs, and where they were."""
    found = [future.result() for future in low.start(reader.manifest, chunks).values()]
    return [chunk.kv for chunk in found], [chunk.origin for chunk in found]


def assert_equal(a: KV, b: KV) -> None:
    assert torch.equal(a.keys_LHTD, b.keys_LHTD)
    assert torch.equal(a.values_LHTD, b.values_LHTD)


def test_from_storage_then_memory_then_disk(reader: IndexReader, tmp_path: Path) -> None:
    fetch, disk = Fetch(reader), DiskCache(tmp_path / "cache", ENOUGH)
    low = LowChunks("archive", fetch, memory_bytes=ENOUGH, disk=disk)
    first, origins = read(low, reader, 1, 3)
    assert origins == ["storage"] * 2
    assert read(low, reader, 3, 1)[1] == ["memory"] * 2
    restarted = LowChunks("archive", fetch, memory_bytes=ENOUGH, disk=disk)
    again, origins = read(restarted, reader, 1, 3, 4)
    assert origins == ["disk", "disk", "storage"]
    assert len(fetch.ranges) == 3
    for kv, chunk in ((first[0], 1), (first[1], 3), (again[0], 1), (again[1], 3), (again[2], 4)):
        assert_equal(kv, reader.low(chunk))
    assert restarted.stats()["low_disk"].hits == 2


def test_the_memory_stays_within_its_budget(reader: IndexReader) -> None:
    size = reader.low(1).nbytes
    low = LowChunks("archive", Fetch(reader), memory_bytes=2 * size)
    for chunk in (1, 2, 3):
        read(low, reader, chunk)
    assert low.stats()["low_memory"].bytes <= 2 * size
    assert [read(low, reader, chunk)[1][0] for chunk in (3, 1)] == ["memory", "storage"]


def test_one_fetch_however_many_ask_at_once(reader: IndexReader) -> None:
    fetch = Fetch(reader, delay_s=0.1)
    low, start = LowChunks("archive", fetch, memory_bytes=ENOUGH), threading.Barrier(6)

    def ask(_: int) -> list[str]:
        start.wait()
        return read(low, reader, 2, 3)[1]

    with ThreadPoolExecutor(6) as threads:
        origins = list(threads.map(ask, range(6)))
    assert len(fetch.ranges) == 2
    assert sorted(origin for each in origins for origin in each) == ["memory"] * 10 + ["storage"] * 2


@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_a_damaged_copy_is_dropped_and_fetched_again(reader: IndexReader, tmp_path: Path, damage: str) -> None:
    fetch, disk = Fetch(reader), DiskCache(tmp_path / "cache", ENOUGH)
    read(LowChunks("archive", fetch, memory_bytes=0, disk=disk), reader, 1)
    [copy] = [path for path in (tmp_path / "cache").glob("*/*") if path.is_file()]
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data if damage == "changed" else data[:100])
    [kv], origins = read(LowChunks("archive", fetch, memory_bytes=0, disk=disk), reader, 1)
    assert origins == ["storage"]
    assert_equal(kv, reader.low(1))
    assert read(LowChunks("archive", fetch, memory_bytes=0, disk=disk), reader, 1)[1] == ["disk"]


@pytest.mark.parametrize("how", LOSSES)
def test_damage_in_storage_is_never_handed_out_or_kept(
    archive: Archive, reader: IndexReader, tmp_path: Path, how: str
) -> None:
    manifest = reader.manifest
    lost = LOSSES[how][0](archive, manifest)
    reader = archive.open_index(manifest.video.video_id)
    disk = DiskCache(tmp_path / "cache", ENOUGH)
    low = LowChunks("archive", Fetch(reader), memory_bytes=ENOUGH, disk=disk)
    for _ in range(2):
        started = low.start(reader.manifest, range(5))
        assert {chunk for chunk, future in started.items() if future.exception() is not None} == lost
        for chunk in lost:
            with pytest.raises(CorruptDataError, match=LOSSES[how][1]):
                started[chunk].result()
    assert len([path for path in (tmp_path / "cache").glob("*/*") if path.is_file()]) == 5 - len(lost)
