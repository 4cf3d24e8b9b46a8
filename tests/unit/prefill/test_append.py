"""A recording that grows: its index goes on, and ends up as if it had been ingested in one go."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.unit.prefill.recordings import COMPRESSION, SAMPLING, content, record
from tests.unit.video.clips import irregular, regular
from videox2l.config import SamplingConfig
from videox2l.errors import AlreadyCommittedError, FingerprintMismatchError, VideoNotFoundError
from videox2l.identity import video_identity
from videox2l.models import KVCompressibleModel
from videox2l.prefill import AppendError, append_video, ingest_video
from videox2l.store import Archive, Manifest
from videox2l.store.retention import expire, find_expired
from videox2l.store.verify import verify

pytestmark = pytest.mark.usefixtures("in_process")

SETTINGS: dict[str, Any] = {"sampling": SAMPLING, "compression": COMPRESSION}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """7.5 s of video in 8 chunks."""
    return record(tmp_path_factory.mktemp("whole") / "whole.ts", regular(75))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.open(tmp_path / "archive", create=True)


def grow(recording: Path, whole: Path, share: float) -> Path:
    """What a recorder had written of ``whole`` by then: bytes, wherever that cuts the last frames."""
    data = whole.read_bytes()
    recording.write_bytes(data[: int(len(data) * share)])
    return recording


def one_go(model: KVCompressibleModel, folder: Path, video: Path, **settings: Any) -> Manifest:
    alone = Archive.open(folder / "one-go", create=True)
    _, manifest = ingest_video(model, alone, video, **(SETTINGS | settings))
    assert manifest is not None
    return manifest


def appended(model: KVCompressibleModel, archive: Archive, recording: Path, **settings: Any) -> Manifest:
    _, manifest = append_video(model, archive, recording, **(SETTINGS | settings))
    assert manifest is not None
    return manifest


# Shares of the file's bytes at which it is ingested and appended; 0.45 lacks frames between others.
GROWTHS = {
    "once": (".ts", (0.5,)),
    "in four steps": (".ts", (0.15, 0.45, 0.7, 0.83)),
    "after a missing B-frame": (".ts", (0.45,)),
    "from its first chunk": (".ts", (0.1,)),
    "by less than a chunk": (".ts", (0.99,)),
    "matroska": (".mkv", (0.5, 0.83)),
}


@pytest.mark.parametrize("case", GROWTHS)
def test_equals_one_ingest_of_the_whole(
    random_model: KVCompressibleModel, tmp_path: Path, archive: Archive, case: str
) -> None:
    suffix, shares = GROWTHS[case]
    whole = record(tmp_path / f"whole{suffix}", regular(75))
    recording = tmp_path / f"camera{suffix}"
    for share in (*shares, 1):
        grow(recording, whole, share)
        manifest = appended(random_model, archive, recording)
    assert content(manifest) == content(one_go(random_model, tmp_path, whole))
    [video] = archive.videos()
    assert len(video.indexes) == 1
    identity = video_identity(recording)
    assert manifest.video == dataclasses.replace(identity, video_id=manifest.video.video_id)
    assert manifest.video.video_id != identity.video_id  # a recording keeps the id it had when it was short
    assert verify(archive.storage).ok


@pytest.mark.parametrize(
    "changes",
    [
        {"compression": dataclasses.replace(COMPRESSION, edge_ratio="level")},
        {"compression": dataclasses.replace(COMPRESSION, edge_ratio=4, remainder="floor")},
        {"compression": dataclasses.replace(COMPRESSION, prefill="single-pass")},
        {"codecs": {"low": "squeeze", "high": "raw"}},
        {"sampling": SamplingConfig(fps=3)},
    ],
)
def test_with_other_settings(
    random_model: KVCompressibleModel, tmp_path: Path, archive: Archive, whole: Path, changes: dict[str, Any]
) -> None:
    recording = tmp_path / "camera.ts"
    for share in (0.5, 1):
        manifest = appended(random_model, archive, grow(recording, whole, share), **changes)
    assert content(manifest) == content(one_go(random_model, tmp_path, whole, **changes))


@pytest.mark.parametrize("share", [0.5, 0.65, 0.8])
def test_variable_frame_rate(random_model: KVCompressibleModel, tmp_path: Path, archive: Archive, share: float) -> None:
    """How long the last frame is shown was a guess when the file was short."""
    whole = record(tmp_path / "whole.mkv", irregular(60))
    recording = tmp_path / "camera.mkv"
    for part in (share, 1):
        manifest = appended(random_model, archive, grow(recording, whole, part))
    assert content(manifest) == content(one_go(random_model, tmp_path, whole))


def test_the_past_is_neither_decoded_nor_stored_again(
    random_model: KVCompressibleModel, tmp_path: Path, archive: Archive, whole: Path
) -> None:
    recording = tmp_path / "camera.ts"
    first = appended(random_model, archive, grow(recording, whole, 0.3))
    done: list[int] = []
    second = appended(random_model, archive, grow(recording, whole, 1), progress=lambda number, _: done.append(number))
    assert len(first.chunks) == 2
    assert done == [2, 3, 4, 5, 6, 7, 8]  # the last one stored, and those behind it
    kept = {second.prompt.shard, second.chunks[0].levels["low"].shard, second.chunks[0].levels["high"].shard}
    assert {second.shards[shard].attempt for shard in kept} == {first.attempt}


def test_nothing_new(random_model: KVCompressibleModel, tmp_path: Path, archive: Archive, whole: Path) -> None:
    recording = tmp_path / "camera.ts"
    first = appended(random_model, archive, grow(recording, whole, 0.5))
    files = [(info.path, info.modified) for info in archive.storage.files()]
    for stuffing in (b"", b"\x47\x1f\xff\x10" + 184 * b"\xff"):  # the file as it was, and with a packet of nothing
        recording.write_bytes(recording.read_bytes() + stuffing)
        identity, manifest = append_video(random_model, archive, recording, **SETTINGS)
        assert manifest is None
        assert identity.video_id == first.video.video_id
    assert [(info.path, info.modified) for info in archive.storage.files("videos")] == [
        (path, modified) for path, modified in files if path.startswith("videos/")
    ]


def test_to_a_named_video_at_another_place(
    random_model: KVCompressibleModel, tmp_path: Path, archive: Archive, whole: Path
) -> None:
    appended(random_model, archive, grow(tmp_path / "monday.ts", whole, 0.5))
    moved = grow(tmp_path / "moved.ts", whole, 1)
    manifest = appended(random_model, archive, moved, append_to="monday.ts")
    assert content(manifest) == content(one_go(random_model, tmp_path, whole))
    assert manifest.video.source == str(moved)
    with pytest.raises(VideoNotFoundError):
        append_video(random_model, archive, moved, append_to="tuesday.ts", **SETTINGS)
    with pytest.raises(FingerprintMismatchError, match="fps"):
        append_video(random_model, archive, moved, append_to="moved.ts", sampling=SamplingConfig(fps=2))


def test_the_recording_keeps_its_wall_clock_time(
    random_model: KVCompressibleModel, tmp_path: Path, archive: Archive, whole: Path
) -> None:
    recording = tmp_path / "camera.ts"
    for share, time in ((0.5, "2026-05-01T09:00:00+02:00"), (1, None)):
        manifest = appended(random_model, archive, grow(recording, whole, share), recorded_at=time)
    assert manifest.recorded_at == "2026-05-01T09:00:00+02:00"


def test_of_two_at_once_one_wins_and_nothing_is_lost(
    random_model: KVCompressibleModel, tmp_path: Path, archive: Archive, whole: Path
) -> None:
    recording = tmp_path / "camera.ts"
    appended(random_model, archive, grow(recording, whole, 0.5))
    grow(recording, whole, 1)
    winners: list[Manifest] = []

    def other(done: int, total: int) -> None:
        if done == total and not winners:
            winners.append(appended(random_model, archive, recording))

    with pytest.raises(AlreadyCommittedError):
        append_video(random_model, archive, recording, progress=other, **SETTINGS)
    assert content(winners[0]) == content(one_go(random_model, tmp_path, whole))
    assert verify(archive.storage).unused == ()
    assert verify(archive.storage).ok
    assert append_video(random_model, archive, recording, **SETTINGS)[1] is None


OTHERS = {
    "another video": lambda path: record(path, irregular(90)),
    "encoded again": lambda path: record(path, regular(90), crf="45"),
    "shorter": lambda path: record(path, regular(30)),
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_is_no_continuation_is_refused(
    random_model: KVCompressibleModel, tmp_path: Path, archive: Archive, whole: Path, case: str
) -> None:
    recording = tmp_path / "camera.ts"
    first = appended(random_model, archive, grow(recording, whole, 0.7))
    OTHERS[case](recording)
    with pytest.raises(AppendError, match="does not continue"):
        append_video(random_model, archive, recording, **SETTINGS)
    assert archive.open_index(first.video.video_id).manifest == first


def test_another_recording_of_the_same_length_is_not_taken_for_the_one_that_is_stored(
    random_model: KVCompressibleModel, tmp_path: Path, archive: Archive, whole: Path
) -> None:
    """A camera that records a minute at a time, say, over and over into the same file."""
    recording = tmp_path / "camera.ts"
    first = appended(random_model, archive, grow(recording, whole, 1))
    record(recording, regular(75), crf="45")
    with pytest.raises(AppendError, match="does not continue"):
        append_video(random_model, archive, recording, **SETTINGS)
    assert archive.open_index(first.video.video_id).manifest == first


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a lossy level": ({"codecs": {"low": "int8", "high": "raw"}}, "low is stored as int8"),
    "both lossy": ({"codecs": {"low": "int8", "high": "int4"}}, "int8 and high is stored as int4"),
    "a number of frames": ({"sampling": SamplingConfig(frames=20)}, r"\(frames\)"),
    "a limit": ({"sampling": SamplingConfig(fps=10, max_frames=20)}, r"\(max_frames\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_cannot_be_continued(
    random_model: KVCompressibleModel, tmp_path: Path, archive: Archive, whole: Path, case: str
) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(AppendError, match=message):
        append_video(random_model, archive, grow(tmp_path / "camera.ts", whole, 0.5), **(SETTINGS | changes))
    assert archive.videos() == []


def test_without_its_low_level_it_cannot_go_on(
    random_model: KVCompressibleModel, tmp_path: Path, archive: Archive, whole: Path
) -> None:
    from datetime import UTC, datetime, timedelta

    recording = tmp_path / "camera.ts"
    first = appended(random_model, archive, grow(recording, whole, 0.5))
    [expiry] = find_expired([first], low=timedelta(days=1), now=datetime.now(UTC) + timedelta(days=2))
    expire(archive, expiry)
    with pytest.raises(AppendError, match="low KVs were removed"):
        append_video(random_model, archive, grow(recording, whole, 1), **SETTINGS)
