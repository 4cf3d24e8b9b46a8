"""Which video and which index is meant, and what the messages say when none is."""

from __future__ import annotations

import pytest

from tests.unit.store.samples import append_all, every_storage, random_chunks, spec, video, write_index
from videox2l.errors import FingerprintMismatchError, VideoNotFoundError
from videox2l.identity import VideoIdentity
from videox2l.store import Archive, layout
from videox2l.store.storage import Storage


def test_resolve(archive: Archive) -> None:
    wanted = write_index(archive).video.video_id
    write_index(archive, name="birthday.mp4")
    for text in (wanted, wanted[:6], wanted[:10].upper(), "holiday.mp4", "/videos/holiday.mp4"):
        assert archive.resolve(text) == wanted


def test_unknown_video_suggests_near_names(archive: Archive) -> None:
    with pytest.raises(VideoNotFoundError, match="ingest one"):
        archive.resolve("holiday.mp4")
    write_index(archive)
    for text in ("holyday.mp4", "Holiday.mov", "/elsewhere/holiday.mp4"):
        with pytest.raises(VideoNotFoundError, match=r"Did you mean holiday\.mp4\?"):
            archive.resolve(text)
    for text in ("zzz", "", "f" * 32, video().video_id[:5]):
        with pytest.raises(VideoNotFoundError):
            archive.resolve(text)


def test_same_name_twice(archive: Archive) -> None:
    write_index(archive)
    twin = VideoIdentity("ab" * 16, "holiday.mp4", "/other/holiday.mp4", 1, "ab" * 32)
    with archive.create_index(twin, spec()) as writer:
        append_all(writer, random_chunks())
        writer.commit()
    with pytest.raises(VideoNotFoundError, match="2 videos answer"):
        archive.resolve("holiday.mp4")
    assert archive.resolve("/other/holiday.mp4") == twin.video_id


@every_storage
def test_listing_survives_a_lost_catalog(archive: Archive) -> None:
    write_index(archive)
    write_index(archive, sampling={"fps": 2})
    write_index(archive, name="birthday.mp4")
    Storage(archive.url).delete_folder(layout.CATALOG)
    videos = archive.videos()
    assert [(video.name, len(video.indexes)) for video in videos] == [("birthday.mp4", 1), ("holiday.mp4", 2)]
    assert videos[1].duration_s == 40.0
    Storage(archive.url).write(layout.catalog("0" * 32, "1" * 32), b"stale")
    assert archive.rebuild_catalog() == 3
    assert len(Storage(archive.url).names(layout.CATALOG)) == 3


def test_choose_among_indexes(archive: Archive) -> None:
    write_index(archive)
    faster = write_index(archive, sampling={"fps": 2.0, "frames": None})
    other = write_index(archive, model_fingerprint="0" * 32, model={"name": "big"})
    assert archive.open_index("holiday.mp4", spec=faster.spec).manifest == faster
    assert archive.open_index("holiday.mp4", index_fp=other.index_fp).manifest == other
    assert archive.open_index("holiday.mp4", model_fingerprint="0" * 32).manifest == other
    with pytest.raises(FingerprintMismatchError, match=r"sampling.fps: the first") as caught:
        archive.open_index("holiday.mp4", model_fingerprint=faster.spec.model_fingerprint)
    assert "2 indexes" in str(caught.value)


def test_mismatch_says_what_differs(archive: Archive) -> None:
    write_index(archive)
    asked = spec(model_fingerprint="0" * 32, model={"name": "big", "layers": 3})
    with pytest.raises(FingerprintMismatchError, match="made with another model") as caught:
        archive.open_index("holiday.mp4", spec=asked)
    assert "model.name: stored tiny, asked for big" in str(caught.value)
    assert "layers" not in str(caught.value)
    with pytest.raises(FingerprintMismatchError, match="made with another model") as caught:
        archive.open_index("holiday.mp4", model_fingerprint="0" * 32)
    assert '"name":"tiny"' in str(caught.value)
    with pytest.raises(FingerprintMismatchError, match="made with other settings") as caught:
        archive.open_index("holiday.mp4", spec=spec(compression={"low_ratio": 4, "high_ratio": 32}))
    assert "compression.low_ratio: stored 2, asked for 4" in str(caught.value)
    with pytest.raises(FingerprintMismatchError, match="no index 1"):
        archive.open_index("holiday.mp4", index_fp="1" * 32)
    assert archive.open_index("holiday.mp4", spec=spec(sampling={"fps": 1, "frames": None}))
