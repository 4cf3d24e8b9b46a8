"""Whose fault a failure is, how often it is tried again, and how long that is remembered."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipelines.ingest import quarantine
from pipelines.ingest.isolation import DecoderCrashedError, DecoderLostError, DecoderTimeoutError, Tries
from pipelines.ingest.quarantine import PrefillWorkerLostError, find, note, release
from pipelines.ingest.tracker import MAX_ATTEMPTS, Tracker
from tests.unit.store.samples import spec, video
from videox2l.errors import (
    ArchiveNotWritableError,
    ConfigError,
    ModelError,
    TruncatedVideoError,
    UnreadableVideoError,
    VideoError,
)
from videox2l.store import Archive, layout
from videox2l.store.patience import StorageFailedError
from videox2l.store.verify import verify

ID, INDEX = video().video_id, spec().index_fp


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.open(tmp_path / "archive", create=True)


@pytest.mark.parametrize("kind", [DecoderCrashedError, DecoderTimeoutError, PrefillWorkerLostError])
def test_what_was_tried_again_at_once_is_left_alone_from_then_on(archive: Archive, kind: type[Exception]) -> None:
    assert find(archive, video(), INDEX) is None
    made = note(archive, video(), INDEX, kind("it died"))
    record = find(archive, video(), INDEX)
    assert record is not None
    assert record == made
    assert record.in_force
    assert (record.error_type, record.reason, record.tries, record.name) == (kind.__name__, "it died", 2, "holiday.mp4")
    assert record.first == record.last
    assert record.software["videox2l"]
    for part in ("it died", "2 tries", "--retry-quarantined"):
        assert part in str(record)
    assert verify(archive.storage).ok
    assert verify(archive.storage).unused == ()
    release(archive, video(), INDEX)
    assert find(archive, video(), INDEX) is None
    release(archive, video(), INDEX)


def test_a_file_that_breaks_off_gets_a_second_chance(archive: Archive) -> None:
    first = note(archive, video(), INDEX, TruncatedVideoError("ends early"))
    assert first is not None
    assert not first.in_force
    second = note(archive, video(), INDEX, TruncatedVideoError("ends early"))
    assert second is not None
    assert second.in_force
    assert second.first == first.first
    assert find(archive, video("copied again.mp4"), INDEX) is None
    assert find(archive, video(), spec(sampling={"fps": 2}).index_fp) is None


def test_a_remote_file_that_does_not_come_may_be_its_storage_s_fault(archive: Archive) -> None:
    remote = dataclasses.replace(video(), source="s3://bucket/holiday.mp4")
    for in_force in (False, True):
        record = note(archive, remote, INDEX, DecoderTimeoutError("nothing came"))
        assert record is not None
        assert record.in_force is in_force


@pytest.mark.parametrize(
    "error",
    [
        StorageFailedError("refused"),
        ArchiveNotWritableError("full"),
        DecoderLostError("no machine"),
        ModelError("not the same checkpoint"),
        ConfigError("impossible"),
        UnreadableVideoError("no such file, or no network"),
        VideoError("another"),
        RuntimeError("CUDA error"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_the_video_s_fault_is_not_held_against_it(archive: Archive, error: Exception) -> None:
    assert note(archive, video(), INDEX, error) is None
    assert find(archive, video(), INDEX) is None


def test_a_recording_is_known_by_what_it_holds_now(archive: Archive) -> None:
    grown = dataclasses.replace(video("grown.mp4"), video_id=ID)
    note(archive, grown, INDEX, DecoderCrashedError("it died"))
    assert find(archive, video(), INDEX) is None
    assert find(archive, video("grown.mp4"), INDEX) is not None


def test_a_damaged_record_counts_for_nothing(archive: Archive) -> None:
    note(archive, video(), INDEX, DecoderCrashedError("it died"))
    path = layout.quarantine(ID, INDEX)
    archive.storage.write(path, archive.storage.read(path).replace(b"died", b"dies"))
    assert find(archive, video(), INDEX) is None
    assert [damage.path for damage in verify(archive.storage).damaged] == [path]


def test_an_archive_that_takes_no_note(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, data: bytes) -> None:
        raise ArchiveNotWritableError("refused")

    monkeypatch.setattr(archive.storage, "write", refuse)
    assert note(archive, video(), INDEX, DecoderCrashedError("it died")) is None


def test_tries_count_at_one_place() -> None:
    tries, crash, hang, loss = Tries(), DecoderCrashedError("c"), DecoderTimeoutError("h"), DecoderLostError("l")
    for place in range(5):
        tries.again(crash, place)
        tries.again(loss, place)
    with pytest.raises(DecoderTimeoutError):
        tries.again(hang, 4)


def test_machines_that_go_do_not_count_until_all_of_them_do() -> None:
    tries, loss, count = Tries(), DecoderLostError("the machine went"), 0
    with pytest.raises(DecoderLostError):
        while True:
            tries.again(loss, 7)
            count += 1
    assert count > quarantine.TRIES


def test_only_deaths_without_progress_count() -> None:
    tracker, here = Tracker(), {"a", "b"}
    assert [tracker.attempt("video", stored, "a", here) for stored in (0, 3, 9, 12)] == [1, 1, 1, 1]
    assert [tracker.attempt("video", 12, "a", here), tracker.attempt("other", 0, "b", here)] == [2, 1]
    assert tracker.attempt("video", 12, "a", here) > MAX_ATTEMPTS


def test_a_machine_that_went_is_not_the_video_s_fault() -> None:
    tracker = Tracker()
    for number in range(5):  # a spot machine each, in the first seconds
        assert tracker.attempt("video", 0, f"node {number}", {f"node {number}"}) == 1


def test_a_job_is_given_up_once() -> None:
    tracker = Tracker()
    assert tracker.report()
    assert tracker.failure() is None
    first = StorageFailedError("refused")
    tracker.give_up(first)
    tracker.give_up(StorageFailedError("refused again"))
    assert tracker.failure() is first
    assert not tracker.report()
