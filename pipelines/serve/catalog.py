"""The archive's videos as the ingress knows them: a list that is at most some seconds old, read once for all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from videox2l.errors import VideoNotFoundError
from videox2l.store import Archive, VideoEntry, lookup

logger = logging.getLogger("ray.serve")

# New videos are seen, and removed ones are not, after so many seconds.
_FRESH_S = 10.0

# Reading the list of a large archive takes seconds of work; it may take one part in so many of the time, also where
# somebody asks for a video that is not in it.
_SHARE = 20

# A name is looked for in the paths of a file system, which have no null characters.
_NO_NAME = "\0"


class _Viewer(Protocol):
    def sees(self, video: VideoEntry) -> bool: ...


class Catalog:
    """The list. An old one is given at once, while a new one is read."""

    def __init__(self, archive: Archive, clock: Callable[[], float] = time.monotonic) -> None:
        self._archive = archive
        self._clock = clock
        self._videos: list[VideoEntry] | None = None
        self._by_id: dict[str, VideoEntry] = {}
        self._read_at = 0.0
        self._took_s = 0.0
        self._reading: asyncio.Task[list[VideoEntry]] | None = None

    async def videos(self, viewer: _Viewer) -> list[VideoEntry]:
        """Those that ``viewer`` sees, by name."""
        return [video for video in await self._list() if viewer.sees(video)]

    async def find(self, name: str, viewer: _Viewer) -> VideoEntry:
        """The video that ``name`` (id, start of an id, name or source) means among those that ``viewer`` sees.

        :raises VideoNotFoundError: none, or several; the message tells nothing of others.
        """
        if _NO_NAME in name:
            raise VideoNotFoundError("a video's name holds no null characters")
        everything = await self._list()
        # Programs name a video by its id. Looking through the names of thousands would take longer than the answer.
        if (known := self._by_id.get(name)) is not None and viewer.sees(known):
            return known
        seen = [video for video in everything if viewer.sees(video)]
        try:
            return _resolve(name, seen)
        except VideoNotFoundError:
            if self._clock() - self._read_at < _SHARE * self._took_s:
                raise
        await self._read()
        return _resolve(name, await self.videos(viewer))

    async def await_video(self, video_id: str | None) -> None:
        """See to it that a video which has just been ingested is in the list."""
        if video_id is not None and all(video.video_id != video_id for video in self._videos or ()):
            await self._read()

    def forget(self) -> None:
        """The archive was changed: what comes next reads it anew."""
        self._videos = None

    async def _list(self) -> list[VideoEntry]:
        if self._videos is None:
            return await self._read()
        if self._clock() - self._read_at > max(_FRESH_S, _SHARE * self._took_s):
            self._start_reading()
        return self._videos

    async def _read(self) -> list[VideoEntry]:
        # A client that leaves must not take the list from those who wait for it, too.
        return await asyncio.shield(self._start_reading())

    def _start_reading(self) -> asyncio.Task[list[VideoEntry]]:
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._refresh())
            # Nobody may be waiting for it; the error shows when somebody does.
            self._reading.add_done_callback(_note_failure)
        return self._reading

    async def _refresh(self) -> list[VideoEntry]:
        began = self._clock()
        self._read_at = began
        videos = await asyncio.to_thread(self._archive.videos)
        self._took_s = self._clock() - began
        self._videos, self._by_id = videos, {video.video_id: video for video in videos}
        return videos


def _note_failure(reading: asyncio.Task[list[VideoEntry]]) -> None:
    if not reading.cancelled() and (error := reading.exception()) is not None:
        logger.warning("The list of videos stays as it was read before: %s", error)


def _resolve(name: str, videos: list[VideoEntry]) -> VideoEntry:
    video_id = lookup.resolve(name, videos)
    return next(video for video in videos if video.video_id == video_id)
