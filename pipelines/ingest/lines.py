"""An ingest's progress in plain text: a line for each finished video, and lines that say how far the job is."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.console import Console

from pipelines.ingest.rows import IngestRow
from pipelines.ingest.summary import clock
from pipelines.ingest.tally import Snapshot

# A line that names more videos than this is not read.
_NAMED = 4


class View(Protocol):
    """One way to show a job."""

    def started(self, videos: int) -> None: ...
    def update(self, now: Snapshot) -> None:
        """Show how far the job is; called every so often."""

    def finished(self, row: IngestRow) -> None: ...
    def close(self) -> None: ...


class Lines:
    """A line for each finished video, and one every so often that says how far the job is. No control characters."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def started(self, videos: int) -> None:
        self._write(f"{videos} {'video' if videos == 1 else 'videos'} to ingest")

    def update(self, now: Snapshot) -> None:
        self._write(progress_line(now))

    def finished(self, row: IngestRow) -> None:
        self._write(line(row))

    def close(self) -> None:
        pass

    def _write(self, text: str) -> None:
        # Not Console.print: it would wrap, and colour whatever it takes for a number.
        self._console.file.write(printable(text) + "\n")
        self._console.file.flush()


class Failures(Lines):
    """The videos that fail, and nothing else."""

    def started(self, videos: int) -> None:
        pass

    def update(self, now: Snapshot) -> None:
        pass

    def finished(self, row: IngestRow) -> None:
        if row.status == "failed":
            super().finished(row)


class JsonLines(Lines):
    """The same as :class:`Lines` for a program: one JSON object a line, told apart by ``event``."""

    def started(self, videos: int) -> None:
        self._object("started", videos=videos)

    def update(self, now: Snapshot) -> None:
        self._object("progress", **dataclasses.asdict(now))

    def finished(self, row: IngestRow) -> None:
        self._object("video", **dataclasses.asdict(row))

    def _object(self, event: str, **fields: Any) -> None:
        self._write(json.dumps({"event": event, "time": datetime.now(UTC).isoformat(timespec="seconds"), **fields}))


def progress_line(now: Snapshot) -> str:
    """How far a job is, in one line."""
    if not now.videos:
        return f"[{clock(now.elapsed_s)}] starting"
    # What is not planned yet will add chunks.
    more = "+" if now.unplanned else ""
    parts = [
        f"{now.finished}/{now.videos} videos",
        f"{now.chunks_done}/{now.chunks}{more} chunks",
        f"{clock(now.video_s)} of video done{pace(now)}",
        remaining(now),
        f"{now.failed} failed",
    ]
    return f"[{clock(now.elapsed_s)}] {', '.join(filter(None, parts))}{_at_work(now)}"


def pace(now: Snapshot) -> str:
    """Hours of video prefilled in an hour, in words that go on from a length; empty while it is not known."""
    return "" if now.video_hours_per_hour is None else f" at {now.video_hours_per_hour:.3g} h an hour"


def remaining(now: Snapshot) -> str:
    """The time left, in words; empty when nothing is left to do."""
    if now.finished == now.videos:
        return ""
    return "time left unknown" if now.eta_s is None else f"about {clock(now.eta_s)} left"


def _at_work(now: Snapshot) -> str:
    named = [f"{video.name} {video.done}/{video.chunks}" for video in now.at_work[:_NAMED]]
    if len(now.at_work) > _NAMED:
        named.append(f"{len(now.at_work) - _NAMED} more")
    return f"; at work: {', '.join(named)}" if named else ""


def line(row: IngestRow) -> str:
    """One finished video in one line of plain text."""
    name = row.name or row.source
    if row.status not in ("committed", "planned"):
        return f"{row.status:9} {name}: {row.error}"
    seconds = sum(row.seconds.values())
    chunks = f"{row.chunks} chunks" + (f" ({row.chunks - row.kept} new)" if row.kept else "")
    text = f"{row.status:9} {name}: {clock(row.duration_s)} long, {chunks}, {seconds:.1f} s"
    return f"{text}; {row.warning}" if row.warning else text


def printable(text: str) -> str:
    """``text`` in one line without control characters, which a file's name or an error may hold."""
    return "".join(
        " " if character.isspace() else character if character.isprintable() else ascii(character)[1:-1]
        for character in text
    )
