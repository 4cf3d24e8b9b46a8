"""The archive on a real object store, with real keys and conditional requests: Ceph's RADOS Gateway."""

from __future__ import annotations

import asyncio
import concurrent.futures

import pytest

from tests.s3.ceph import Ceph, ceph, ceph_bucket, ceph_server
from tests.s3.faults import Fault, FaultProxy, in_turn
from tests.unit.store.samples import assert_same, random_chunks, random_kv, spec, video, write_index
from videox2l.errors import AlreadyCommittedError, ArchiveError
from videox2l.store import Archive
from videox2l.store.fetch import Fetcher
from videox2l.store.range_sources import Data
from videox2l.store.storage import Range, Storage

__all__ = ["ceph", "ceph_bucket", "ceph_server"]

WRITERS = 6


@pytest.fixture
def archive(ceph_bucket: str) -> Archive:
    return Archive.open(f"{ceph_bucket}/archive", create=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_round_trip(archive: Archive, dtype: str) -> None:
    chunks = random_chunks(4, dtype)
    write_index(archive, chunks, dtype=dtype)
    again = Archive.open(archive.url)
    assert [entry.name for entry in again.videos()] == ["holiday.mp4"]
    reader = again.open_index("holiday.mp4")
    for index, kv in reader.low_many([3, 0]).items():
        assert_same(kv, chunks[index]["low"])
    for kv, chunk in zip(reader.high(), chunks, strict=True):
        assert_same(kv, chunk["high"])


def test_of_several_committers_exactly_one_wins(archive: Archive) -> None:
    writers = [archive.create_index(video(), spec()) for _ in range(WRITERS)]
    for writer in writers:
        writer.put_prompt(random_kv(5))
        writer.append(0, 0.0, 10.0, 10, random_chunks(1)[0])
    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        commits = [pool.submit(writer.commit) for writer in writers]
    errors = [commit.exception() for commit in commits]
    assert sum(isinstance(error, AlreadyCommittedError) for error in errors) == WRITERS - 1
    winner = commits[errors.index(None)].result()
    reader = Archive.open(archive.url).open_index("holiday.mp4")
    assert reader.manifest.attempt == winner.attempt
    reader.low(0)  # verified against the winner's checksums, so no loser's shard took its place
    reader.high()


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 10), (65_530, 12), (99_990, 10), (99_990, 100), (100_000, 5), (7, 0)]
)
def test_ranges(ceph_bucket: str, offset: int, length: int) -> None:
    storage, blob = Storage(f"{ceph_bucket}/a folder"), bytes(range(250)) * 400
    storage.write("ä blob", blob)
    part = Range("ä blob", offset, length)
    assert storage.read_ranges([part] * 2) == fetched(storage, [part] * 2) == [blob[offset : offset + length]] * 2


def test_fetched_chunks(archive: Archive) -> None:
    manifest = write_index(archive, random_chunks(5))
    stored = [chunk.levels["low"] for chunk in manifest.chunks]
    ranges = [Range(manifest.shard_path(kv.shard), kv.offset, kv.length) for kv in stored]
    storage = Storage(archive.url)
    assert fetched(storage, ranges) == storage.read_ranges(ranges)


def test_wrong_keys_are_refused(ceph: Ceph, archive: Archive) -> None:
    storage = Storage(archive.url, {"key": ceph.key, "secret": "wrong"})
    with pytest.raises(ArchiveError, match=r"403.*credentials"):
        fetched(storage, [Range("archive.json", 0, 1)])
    with pytest.raises(ArchiveError, match="credentials"):
        storage.read_ranges([Range("archive.json", 0, 1)])


def test_no_lost_commit(ceph: Ceph, ceph_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultProxy(ceph.url) as proxy:
        ceph.set_environment(monkeypatch, proxy.url)
        archive = Archive.open(f"{ceph_bucket}/archive", create=True)
        proxy.plan = in_turn(Fault("lost_answer"), method="PUT", path="manifest.json")
        manifest = write_index(archive)
        assert proxy.count("PUT", "manifest.json") == 2
        assert archive.open_index("holiday.mp4").manifest.attempt == manifest.attempt


def fetched(storage: Storage, ranges: list[Range]) -> list[Data]:
    async def run() -> list[Data]:
        fetcher = Fetcher(storage)
        try:
            return await fetcher.fetch(ranges)
        finally:
            await fetcher.aclose()

    return asyncio.run(run())
