"""Several processes and threads at once on one archive."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tests.unit.store.processes import ingest, race
from tests.unit.store.samples import append_all, assert_same, random_chunks, spec, video, write_index
from videox2l.errors import AlreadyCommittedError, CorruptDataError
from videox2l.store import Archive, IndexReader
from videox2l.store.retention import expire, find_expired
from videox2l.store.storage import Storage
from videox2l.store.sweep import collect, find_garbage
from videox2l.store.verify import verify

NOW = timedelta(0)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("replace", [False, True])
def test_processes_at_once(local_archive: Archive, replace: bool) -> None:
    if replace:
        ingest(local_archive)
    winners = race(local_archive, replace, processes=3)
    # Replacing one another in turn is fine; at once only one may win.
    assert len(winners) >= 1 if replace else len(winners) == 1


def test_replacing_the_same_index_twice_at_once(archive: Archive) -> None:
    ingest(archive)
    with (
        archive.create_index(video(), spec(), replace=True) as first,
        archive.create_index(video(), spec(), replace=True) as second,
    ):
        append_all(first, random_chunks(1))
        append_all(second, random_chunks(2))
        manifest = first.commit()
        with pytest.raises(AlreadyCommittedError):
            second.commit()
    assert archive.open_index(video().video_id).manifest == manifest
    assert archive.videos()[0].indexes[0].chunks == 1


def test_what_was_read_before_a_replacement_cannot_be_changed(archive: Archive) -> None:
    old = write_index(archive)
    [expiry] = find_expired([old], low=timedelta(-1))
    ingest(archive, replace=True)
    for change in (lambda: expire(archive, expiry), lambda: archive.extend_index(old, video(), keep=1)):
        with pytest.raises(AlreadyCommittedError):
            change()
    assert verify(archive.storage).ok


def test_swap_has_one_winner(archive: Archive) -> None:
    storage = archive.storage
    storage.write("file", b"old")
    version = storage.version("file")
    assert version is not None
    barrier = threading.Barrier(6)

    def swap(name: bytes) -> bytes | None:
        barrier.wait()
        try:
            Storage.swap(storage, "file", name, version)
        except FileExistsError:
            return None
        return name

    with ThreadPoolExecutor(6) as pool:
        winners = [name for name in pool.map(swap, [b"%d" % number for number in range(6)]) if name]
    assert len(winners) == 1
    assert storage.read("file") == winners[0]
    storage.delete("file")
    with pytest.raises(FileExistsError):
        storage.swap("file", b"new", version)
    assert storage.version("file") is None


@pytest.mark.parametrize("other_settings", [False, True])
def test_reader_outlives_a_replacement(archive: Archive, other_settings: bool) -> None:
    chunks = random_chunks(3)
    write_index(archive, chunks)
    reader = archive.open_index("holiday.mp4")
    changes = {"sampling": {"fps": 2.0}} if other_settings else {}
    new = ingest(archive, replace=True, **changes)
    assert archive.open_index("holiday.mp4").manifest.attempt == new
    assert [len(entry.indexes) for entry in archive.videos()] == [1]
    for index, kvs in enumerate(chunks):
        assert_same(reader.low(index), kvs["low"])
        assert_same(reader.high([index])[0], kvs["high"])
    collect(archive.storage, find_garbage(archive.storage))
    assert reader.prompt().tokens == 5  # it was replaced just now
    collect(archive.storage, find_garbage(archive.storage, older_than=NOW))
    with pytest.raises(CorruptDataError, match="missing"):
        reader.prompt()
    assert verify(archive.storage).unused == ()


def test_every_moment_has_one_index(local_archive: Archive) -> None:
    write_index(local_archive)
    ends = threading.Event()
    seen: list[IndexReader] = []

    def read() -> None:
        while not ends.is_set():
            reader = local_archive.open_index(video().video_id)
            assert len(reader.high()) == len(reader.manifest.chunks)
            reader.low(0)
            assert len(local_archive.videos()) == 1
            seen.append(reader)

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for fps in itertools.islice(itertools.cycle([1.0, 1.0, 2.0, 2.0, 3.0]), 25):
                ingest(local_archive, replace=True, sampling={"fps": fps})
        finally:
            ends.set()
        for reader in readers:
            reader.result()
    assert len({reader.manifest.attempt for reader in seen}) > 1
    assert verify(local_archive.storage).ok


def test_writer_at_work_is_spared(local_archive: Archive) -> None:
    with local_archive.create_index(video(), spec()) as writer:
        append_all(writer, random_chunks(1))
        collect(local_archive.storage, find_garbage(local_archive.storage))
        writer.commit()
    assert verify(local_archive.storage).ok
