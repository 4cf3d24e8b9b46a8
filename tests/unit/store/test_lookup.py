"""Which video is meant, and what the messages say when none is."""

from __future__ import annotations

import pytest

from tests.unit.store.samples import append_all, random_chunks, spec, video, write_index
from videox2l.errors import VideoNotFoundError
from videox2l.identity import VideoIdentity
from videox2l.store import Archive


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


def test_an_index_by_the_start_of_its_id(archive: Archive) -> None:
    ids = [write_index(archive, sampling={"fps": fps, "frames": None}).index_fp for fps in (1.0, 2.0)]
    entry = archive.entry("holiday.mp4")
    for index in ids:
        assert entry.index_id(index) == entry.index_id(index[:8].upper()) == index
    with pytest.raises(VideoNotFoundError, match=r"holiday\.mp4 has no index that begins with 'x'") as caught:
        entry.index_id("x")
    assert all(index in str(caught.value) for index in ids)
    with pytest.raises(VideoNotFoundError, match="2 indexes that begin with ''"):
        entry.index_id("")
