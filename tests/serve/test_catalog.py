"""The list of videos: how old it may be, and who reads it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pipelines.serve.catalog import Catalog
from tests.archives import random_index
from videox2l.errors import VideoNotFoundError
from videox2l.models import KVCompressibleModel
from videox2l.store import Archive, VideoEntry


class Everybody:
    def sees(self, _: VideoEntry) -> bool:
        return True


class CountingArchive(Archive):
    """Counts how often its list is read."""

    reads = 0

    def videos(self) -> list[VideoEntry]:
        self.reads += 1
        return super().videos()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def archive(tmp_path: Path, random_model: KVCompressibleModel) -> CountingArchive:
    opened = Archive.open(tmp_path / "archive", create=True)
    random_index(opened, random_model, "first.mp4", chunks=1)
    return CountingArchive(opened.storage)


def names(videos: list[VideoEntry]) -> list[str]:
    return [video.name for video in videos]


def test_it_is_read_once_for_all_and_an_old_one_is_given_while_a_new_one_is_read(
    archive: CountingArchive, random_model: KVCompressibleModel
) -> None:
    async def run() -> None:
        clock = Clock()
        catalog = Catalog(archive, clock)
        found = await asyncio.gather(*(catalog.videos(Everybody()) for _ in range(5)))
        assert [names(videos) for videos in found] == [["first.mp4"]] * 5
        assert archive.reads == 1
        random_index(archive, random_model, "second.mp4", chunks=1, seed=1)
        clock.now += 9
        assert names(await catalog.videos(Everybody())) == ["first.mp4"]
        assert archive.reads == 1
        clock.now += 2
        assert names(await catalog.videos(Everybody())) == ["first.mp4"]
        while names(await catalog.videos(Everybody())) == ["first.mp4"]:
            await asyncio.sleep(0.01)
        assert archive.reads == 2

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_video_that_is_not_in_it_has_it_read_anew(
    archive: CountingArchive, random_model: KVCompressibleModel
) -> None:
    async def run() -> None:
        clock = Clock()
        catalog = Catalog(archive, clock)
        assert (await catalog.find("first.mp4", Everybody())).name == "first.mp4"
        assert archive.reads == 1
        random_index(archive, random_model, "second.mp4", chunks=1, seed=1)
        assert (await catalog.find("second.mp4", Everybody())).name == "second.mp4"
        assert archive.reads == 2
        with pytest.raises(VideoNotFoundError):
            await catalog.find("third.mp4", Everybody())

    asyncio.run(run())


def test_a_storage_that_fails_leaves_the_list_as_it_was(archive: CountingArchive, tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        catalog = Catalog(archive, clock)
        await catalog.videos(Everybody())
        (tmp_path / "archive" / "catalog").rename(tmp_path / "away")
        (tmp_path / "archive" / "catalog").write_text("a file where a folder is due")
        (tmp_path / "archive" / "videos").rename(tmp_path / "videos-away")
        (tmp_path / "archive" / "videos").symlink_to(tmp_path / "archive" / "videos")
        for _ in range(3):
            clock.now += 11
            assert names(await catalog.videos(Everybody())) == ["first.mp4"]
            await asyncio.sleep(0.05)
        assert archive.reads > 1

    asyncio.run(run())
