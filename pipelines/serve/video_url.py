"""How a request names a video: by itself, or as ``videox2l://ID``, with ``#t=600,1200`` for a part of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from pipelines.serve.errors import RequestError
from videox2l.answering import TimeRange

SCHEME = "videox2l://"

# Of W3C's media fragments the temporal dimension in normal play time, whose prefix is optional.
_FRAGMENT = re.compile(r"t=(?:npt:)?([^,&]*)(?:,([^&]*))?")


@dataclass(frozen=True)
class VideoAddress:
    """A video as the user wrote it, and the part that is meant."""

    video: str
    time_range: TimeRange | None = None


def parse_video_url(text: str) -> VideoAddress:
    """Anything that does not begin with ``videox2l://`` is a name, whatever it holds.

    :raises RequestError: the fragment is not understood.
    :raises ~videox2l.answering.TimeRangeError: its times are not.
    """
    if not text.startswith(SCHEME):
        return VideoAddress(text)
    path, has_fragment, fragment = text.removeprefix(SCHEME).partition("#")
    video = unquote(path).rstrip("/")
    if not video:
        raise RequestError(f"{text[:80]!r} names no video: write {SCHEME} and its id", "video")
    if not has_fragment:
        return VideoAddress(video)
    found = _FRAGMENT.fullmatch(unquote(fragment))
    if found is None or not (found[1] or found[2]):
        raise RequestError(
            f"#{fragment[:80]} is not understood: write #t=600,1200 for seconds 600 to 1200, #t=600 for all behind, "
            "or %23 for a # in a video's name",
            "video",
        )
    return VideoAddress(video, TimeRange.parse(found[1] or None, found[2] or None))
