"""Readers see a whole index or none, whatever happens to its writer."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from tests.unit.store.samples import (
    append_all,
    assert_same,
    every_storage,
    random_chunks,
    random_kv,
    spec,
    video,
    write_index,
)
from videox2l.errors import AlreadyCommittedError, ArchiveNotWritableError, VideoNotFoundError
from videox2l.store import Archive, commit, layout, shard
from videox2l.store.storage import Storage
from videox2l.store.sweep import collect, find_garbage
from videox2l.store.verify import verify_index


@every_storage
def test_second_writer_loses(archive: Archive) -> None:
    chunks = random_chunks()
    with (
        archive.create_index(video(), spec()) as first,
        pytest.raises(AlreadyCommittedError),
        archive.create_index(video(), spec()) as second,
    ):
        append_all(first, chunks)
        append_all(second, random_chunks())
        manifest = first.commit()
        second.commit()
    reader = archive.open_index("holiday.mp4")
    assert reader.manifest == manifest
    assert_same(reader.low(0), chunks[0]["low"])
    assert not verify_index(reader.storage, reader.manifest)
    attempts = f"videos/{manifest.video.video_id}/{manifest.index_fp}/attempts"
    assert Storage(archive.url).names(attempts) == [manifest.attempt]


def test_race_has_one_winner(archive: Archive) -> None:
    barrier = threading.Barrier(8)
    outcomes: list[str] = []

    def race() -> None:
        with archive.create_index(video(), spec()) as writer:
            append_all(writer, random_chunks(2))
            barrier.wait()
            try:
                outcomes.append(writer.commit().attempt)
            except AlreadyCommittedError:
                outcomes.append("lost")

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[1:] == ["lost"] * 7
    reader = archive.open_index("holiday.mp4")
    assert reader.manifest.attempt in outcomes
    assert not verify_index(reader.storage, reader.manifest)


def test_uncommitted_is_invisible(archive: Archive) -> None:
    with archive.create_index(video(), spec()) as writer:
        append_all(writer, random_chunks())
        assert archive.videos() == []
        with pytest.raises(VideoNotFoundError):
            archive.open_index(video().video_id)
    assert archive.videos() == []
    assert not archive.has(video().video_id, spec())


@every_storage
def test_exception_aborts(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "TARGET_BYTES", {"low": 0, "high": 0, "prompt": 0})
    with pytest.raises(RuntimeError), archive.create_index(video(), spec()) as writer:
        append_all(writer, random_chunks())
        raise RuntimeError
    attempts = f"videos/{video().video_id}/{spec().index_fp}/attempts"
    assert Storage(archive.url).names(attempts) == []
    with pytest.raises(ValueError, match="finished"):
        writer.commit()
    write_index(archive)
    assert archive.has(video().video_id, spec())


def test_upload_error_surfaces(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "TARGET_BYTES", {"low": 0, "high": 0, "prompt": 0})

    def refuse(self: Storage, path: str, data: bytes) -> None:
        raise ArchiveNotWritableError("the disk is full")

    with (
        pytest.raises(ArchiveNotWritableError, match="disk is full"),
        archive.create_index(video(), spec()) as writer,
    ):
        monkeypatch.setattr(Storage, "write", refuse)
        append_all(writer, random_chunks())
        writer.commit()
    assert not archive.has(video().video_id, spec())


@every_storage
def test_lost_answer_to_the_commit(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    create = Storage.create

    def lose_answer(self: Storage, path: str, data: bytes) -> None:
        create(self, path, data)
        if path.endswith(layout.MANIFEST):
            raise ArchiveNotWritableError("connection reset")

    monkeypatch.setattr(Storage, "create", lose_answer)
    manifest = write_index(archive)
    reader = archive.open_index("holiday.mp4")
    assert reader.manifest == manifest
    assert not verify_index(reader.storage, reader.manifest)


def test_request_of_the_commit_on_its_way(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    create, pending = Storage.create, []

    def delay(self: Storage, path: str, data: bytes) -> None:
        if not path.endswith(layout.MANIFEST):
            create(self, path, data)
            return
        pending.append((self, path, data))
        raise ArchiveNotWritableError("timeout")

    monkeypatch.setattr(Storage, "create", delay)
    with pytest.raises(ArchiveNotWritableError, match="timeout"):
        write_index(archive)
    create(*pending[0])
    assert not verify_index(archive.storage, archive.open_index("holiday.mp4").manifest)


def test_misuse(archive: Archive) -> None:
    with archive.create_index(video(), spec()) as writer:
        with pytest.raises(ValueError, match="prompt and at least one chunk"):
            writer.commit()
        writer.put_prompt(random_kv(1))
        with pytest.raises(ValueError, match="already"):
            writer.put_prompt(random_kv(1))
        chunk = random_chunks(1)[0]
        with pytest.raises(ValueError, match="expected 0, got 1"):
            writer.append(1, 0, 1, 1, chunk)
        with pytest.raises(ValueError, match="seconds"):
            writer.append(0, 2, 1, 1, chunk)
        with pytest.raises(ValueError, match="float16"):
            writer.append(0, 0, 1, 1, random_chunks(1, "float16")[0])


def test_killed_before_it_hid_what_it_replaced(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was replaced counts no longer, and can be made again without losing it to a sweep."""
    old = write_index(archive)
    other = spec(sampling={"fps": 2.0, "frames": None})
    with monkeypatch.context() as patch, archive.create_index(video(), other, replace=True) as writer:
        patch.setattr(commit, "hide", lambda *_: None)
        append_all(writer, random_chunks())
        new = writer.commit()
    storage = Storage(archive.url)
    assert storage.exists(old.path)
    assert archive.has(new.video.video_id, other)
    assert not archive.has(old.video.video_id, spec())
    assert storage.exists(old.path)  # looking changes nothing
    again = write_index(archive)
    collect(storage, find_garbage(storage, older_than=timedelta(0)))
    for manifest in (new, again):
        assert archive.has(manifest.video.video_id, manifest.spec)
        assert archive.open_index(manifest.video.video_id, index_fp=manifest.index_fp).low(0).tokens
    assert len(archive.videos()[0].indexes) == 2
