"""Which part of a video a question is about: in video time, or by the clock where the recording's start is known."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from videox2l.answering.answer import RecordedAt
from videox2l.errors import QuestionError
from videox2l.store import Manifest

Moment = float | datetime
"""Seconds of video, or a time by the clock; one without offset from UTC is meant in the recording's own."""

_NUMBER = r"\d{1,12}(?:\.\d+)?"
_VIDEO_TIME = re.compile(rf"{_NUMBER}|(?:\d{{1,9}}:)?\d{{1,9}}:[0-5]?\d(?:\.\d+)?", re.ASCII)


class TimeRangeError(QuestionError):
    """A time range is not one, or the video has nothing in it."""


@dataclass(frozen=True)
class TimeRange:
    """The part of a video from ``start`` up to, but without, ``end``; ``None`` leaves that side open."""

    start: Moment | None = None
    end: Moment | None = None

    @classmethod
    def parse(cls, start: str | Moment | None = None, end: str | Moment | None = None) -> TimeRange:
        """From moments, or ``MM:SS``, ``HH:MM:SS`` (both with decimals if need be), or ISO 8601 times by the clock.

        :raises TimeRangeError: it is none of these.
        """
        return cls(_moment(start), _moment(end))

    def chunks(self, manifest: Manifest) -> tuple[int, ...]:
        """Numbers of the chunks that overlap the range, in time order; at least one.

        :raises TimeRangeError: there is none, or a time by the clock is asked for and the recording's start is unknown.
        """
        start_s = -math.inf if self.start is None else _seconds(self.start, manifest)
        end_s = math.inf if self.end is None else _seconds(self.end, manifest)
        if start_s >= end_s:
            raise TimeRangeError(f"the time range is empty: it ends at {end_s:.1f} s and begins at {start_s:.1f} s")
        # A chunk of a single frame may have no length; it lies where it starts.
        found = tuple(
            chunk.index
            for chunk in manifest.chunks
            if chunk.start_s < end_s and (chunk.end_s > start_s or chunk.start_s >= start_s)
        )
        if not found:
            asked = f"from {start_s:.1f} s" + (f" to {end_s:.1f} s" if self.end is not None else " on")
            raise TimeRangeError(f"{manifest.video.name} has nothing {asked}: {_extent(manifest)}")
        return found


def recorded_at(manifest: Manifest, start_s: float, end_s: float) -> RecordedAt | None:
    """When these seconds of the video were recorded; ``None`` where its start is not known."""
    if manifest.recorded_at is None:
        return None
    zero = datetime.fromisoformat(manifest.recorded_at)
    try:
        start, end = (zero + timedelta(seconds=seconds) for seconds in (start_s, end_s))
    except OverflowError:  # beyond the year 9999
        return None
    return RecordedAt(start.isoformat(timespec="milliseconds"), end.isoformat(timespec="milliseconds"))


def _moment(given: str | Moment | None) -> Moment | None:
    if given is None or isinstance(given, float | int | datetime):
        return given
    text = given.strip()
    if _VIDEO_TIME.fullmatch(text):
        return sum(float(part) * 60**power for power, part in enumerate(reversed(text.split(":"))))
    try:
        if "-" in text:  # without, `fromisoformat` takes 20261121 for a date
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise TimeRangeError(
        f"{text[:80]!r} is no time: write seconds of video (90.5), MM:SS, HH:MM:SS, or a time by the clock such as "
        "2026-11-21T08:00:00+01:00"
    )


def _seconds(moment: Moment, manifest: Manifest) -> float:
    """``moment`` in video time."""
    if not isinstance(moment, datetime):
        return moment
    if manifest.recorded_at is None:
        raise TimeRangeError(
            f"it is not known when {manifest.video.name} was recorded, so it cannot be asked by the clock: give video "
            "time (such as 12:30), or ingest it with its start, "
            "`videox2l ingest --recorded-at 2026-11-21T08:00:00+01:00`"
        )
    zero = datetime.fromisoformat(manifest.recorded_at)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zero.tzinfo)
    return (moment - zero).total_seconds()


def _extent(manifest: Manifest) -> str:
    """Which times the video covers, in words."""
    if not manifest.chunks:
        return "it is empty"
    start_s, end_s = manifest.chunks[0].start_s, manifest.duration_s
    clock = recorded_at(manifest, start_s, end_s)
    by_clock = f", by the clock {clock.start} to {clock.end}" if clock is not None else ""
    return f"it covers {start_s:.1f} s to {end_s:.1f} s{by_clock}"
