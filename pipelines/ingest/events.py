"""What the caller of an ingest hears while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.ingest.rows import IngestRow


@dataclass(frozen=True)
class JobStarted:
    """Work begins on this many sources. Comes once, first."""

    videos: int


@dataclass(frozen=True)
class VideoPlanned:
    """``chunks`` of a video will be prefilled; of a recording that is continued, those behind the ``kept`` ones.

    ``duration_s`` is the length in seconds of the whole video.
    """

    source: str
    name: str
    chunks: int
    duration_s: float
    kept: int = 0


@dataclass(frozen=True)
class VideoStarted:
    """A prefill worker took the video on."""

    source: str


@dataclass(frozen=True)
class ChunkDone:
    """``done`` of the video's chunks are prefilled, ``new`` of them since the last report."""

    source: str
    done: int
    new: int = 1


@dataclass(frozen=True)
class RowFinished:
    """A video is through, for good or ill."""

    row: IngestRow


Event = JobStarted | VideoPlanned | VideoStarted | ChunkDone | RowFinished
OnProgress = Callable[[Event], None]
"""Called in the driver's main thread, one event at a time."""
