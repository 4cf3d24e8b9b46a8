"""Finding a video by what a person would call it."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from videox2l.errors import VideoNotFoundError
from videox2l.identity import ID_LENGTH, source_name, source_url
from videox2l.store.catalog import CatalogRow

_SHORTEST_PREFIX = 6
"""Fewer digits of an id match by chance in archives of a few thousand videos."""


@dataclass(frozen=True)
class VideoEntry:
    """A video and its committed indexes (never empty, oldest first)."""

    video_id: str
    indexes: Sequence[CatalogRow]

    @property
    def name(self) -> str:
        """File name at its latest ingest."""
        return self.indexes[-1].name

    @property
    def source(self) -> str:
        """Path or URL at its latest ingest."""
        return self.indexes[-1].source

    @property
    def duration_s(self) -> float:
        """Seconds of video covered."""
        return self.indexes[-1].duration_s

    @property
    def sources(self) -> set[str]:
        """Every path and URL that this content was ingested from or found at."""
        return {row.source for row in self.indexes} | {also.source for row in self.indexes for also in row.other_names}

    @property
    def names(self) -> set[str]:
        """Every name it has or had: given ones, and those of its files."""
        names = {row.name for row in self.indexes} | {also.name for row in self.indexes for also in row.other_names}
        return names | {source_name(source) for source in self.sources}

    def index_id(self, begins: str) -> str:
        """The id of the one index that ``begins`` so.

        :raises VideoNotFoundError: there is none, or there are several.
        """
        found = [row.index_fp for row in self.indexes if row.index_fp.startswith(begins.lower())]
        if len(found) == 1:
            return found[0]
        there_are = ", ".join(found or (row.index_fp for row in self.indexes))
        problem = "no index that begins with" if not found else f"{len(found)} indexes that begin with"
        raise VideoNotFoundError(f"{self.name} has {problem} {begins!r}. There are: {there_are}.")


def group(rows: Iterable[CatalogRow]) -> list[VideoEntry]:
    """Rows by video, sorted by name."""
    by_video: dict[str, list[CatalogRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.created, row.index_fp)):
        by_video[row.video_id].append(row)
    videos = [VideoEntry(video_id, tuple(indexes)) for video_id, indexes in by_video.items()]
    return sorted(videos, key=lambda video: (video.name, video.video_id))


def is_id(text: str) -> bool:
    """Whether ``text`` has the form of a whole video id."""
    return re.fullmatch(f"[0-9a-f]{{{ID_LENGTH}}}", text) is not None


def resolve(text: str, videos: Sequence[VideoEntry]) -> str:
    """The id of the one video that ``text`` means: an id, a source, a name, or the start of an id, tried so.

    Sources and names are all that the video is known by.

    :raises VideoNotFoundError: none or several.
    """
    source = source_url(text) if text else ""
    meanings: tuple[Callable[[VideoEntry], bool], ...] = (
        lambda video: video.video_id == text,
        lambda video: source in video.sources,
        lambda video: text in video.names,
        lambda video: len(text) >= _SHORTEST_PREFIX and video.video_id.startswith(text.lower()),
    )
    for meant in meanings:
        found = [video for video in videos if meant(video)]
        if len(found) == 1:
            return found[0].video_id
        if found:
            several = "\n".join(f"  {video.video_id}  {video.source}" for video in found)
            raise VideoNotFoundError(f"{len(found)} videos answer to {text!r}. Give one of these ids:\n{several}")
    raise VideoNotFoundError(f"no video {text!r} in the archive. {_suggestion(text, videos)}")


def _suggestion(text: str, videos: Sequence[VideoEntry]) -> str:
    if not videos:
        return "It holds no videos yet: ingest one."
    names = {name.lower(): name for video in videos for name in sorted(video.names)}
    near = difflib.get_close_matches(source_name(text).lower(), names, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(names[name] for name in near)}?"
    return f"It holds {len(videos)} videos, such as {', '.join(video.name for video in videos[:3])}."
