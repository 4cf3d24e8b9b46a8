"""Videos kept beside a model: what is looked up anew, and what happens where that cannot be done."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.archives import random_index
from videox2l import Archive, ResidentVideo
from videox2l.answering import residents
from videox2l.answering.residents import ResidentVideos, resident_size
from videox2l.errors import ArchiveError, CorruptDataError, VideoNotFoundError
from videox2l.models.video_xl.model import VideoXL

ENOUGH = 2**30


@pytest.fixture
def videos(archive: Archive, random_model: VideoXL) -> Iterator[ResidentVideos]:
    with ResidentVideos(archive, random_model, resident_bytes=ENOUGH, low_memory_bytes=ENOUGH) as videos:
        yield videos


def test_the_least_recently_used_goes_when_the_budget_is_full(archive: Archive, random_model: VideoXL) -> None:
    ids = [random_index(archive, random_model, f"{seed}.mp4", seed=seed).manifest.video.video_id for seed in range(3)]
    size = resident_size(ResidentVideo(random_model, archive.open_index(ids[0])))
    with ResidentVideos(archive, random_model, resident_bytes=2 * size, low_memory_bytes=0) as videos:
        for video_id in (ids[0], ids[1], ids[0], ids[2], ids[0], ids[1]):
            with videos.use(video_id):
                pass
        stats = videos.stats()["video"]
        assert (stats.values, stats.bytes, stats.hits, stats.misses) == (2, 2 * size, 2, 4)


def test_damage_makes_the_next_question_look_again(
    archive: Archive, random_model: VideoXL, videos: ResidentVideos
) -> None:
    video_id = random_index(archive, random_model).manifest.video.video_id
    with videos.use(video_id) as first:
        pass
    with videos.use(video_id) as second:
        assert second is first
    with pytest.raises(CorruptDataError), videos.use(video_id):
        raise CorruptDataError("a checksum does not match")
    with videos.use(video_id) as third:
        assert third is not first
        third.doubtful = True
    with videos.use(video_id) as fourth:
        assert fourth is not third


def test_a_video_that_was_removed_is_forgotten(
    archive: Archive, random_model: VideoXL, videos: ResidentVideos, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = random_index(archive, random_model).manifest
    with videos.use(manifest.video.video_id):
        pass
    monkeypatch.setattr(residents, "_FRESH_S", 0.0)
    archive.storage.delete(manifest.path)
    for _ in range(2):
        with pytest.raises(VideoNotFoundError), videos.use(manifest.video.video_id):
            pass


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
def test_what_is_resident_is_used_while_the_archive_cannot_be_looked_at(
    archive: Archive, random_model: VideoXL, videos: ResidentVideos, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    video_id = random_index(archive, random_model).manifest.video.video_id
    with videos.use(video_id) as first:
        pass
    over = threading.Event()

    def look(*args: object) -> None:
        if trouble == "fails":
            raise ArchiveError("no answer within 10 s")
        over.wait(60)

    monkeypatch.setattr(residents, "_FRESH_S", 0.0)
    monkeypatch.setattr(residents, "_LOOK_S", 0.1)
    monkeypatch.setattr(videos, "_find", look)
    with videos.use(video_id) as again:
        assert again is first
    over.set()
