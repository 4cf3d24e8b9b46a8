"""Watching an ingest in a terminal; in a log file, a plain line for each video."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.ingest.events import ChunkDone, Event, JobStarted, RowFinished, VideoPlanned
from pipelines.ingest.rows import IngestRow
from pipelines.ingest.summary import clock


class IngestProgress:
    """Shows what an ingest reports; pass the object itself as ``on_progress``.

    ::

        with IngestProgress() as show:
            summary = ingest(["clips/"], "archive", on_progress=show)
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._videos = self._bars.add_task("videos", total=None, note="")
        self._chunks = self._bars.add_task("chunks", total=0, note="")
        self._planned: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._failures = 0

    def __enter__(self) -> IngestProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case JobStarted(videos):
                self._bars.update(self._videos, total=videos)
            case VideoPlanned(source, _, chunks):
                self._planned[source] = chunks
            case ChunkDone(source, done):
                self._done[source] = done
            case RowFinished(row):
                self._finish(row)
        # A video that failed half-way, or was skipped after all, has no chunks left to wait for.
        self._bars.update(self._chunks, total=sum(self._planned.values()), completed=sum(self._done.values()))

    def _finish(self, row: IngestRow) -> None:
        self._planned[row.source] = self._done[row.source] = self._done.get(row.source, 0)
        self._failures += row.status == "failed"
        self._bars.update(self._videos, advance=1, note=f"[red]{self._failures} failed[/]" if self._failures else "")
        if row.status == "failed" or not self._console.is_terminal:
            self._console.print(escape(line(row)), soft_wrap=True, highlight=False)


def line(row: IngestRow) -> str:
    """One finished video in one line of plain text."""
    name = row.name or row.source
    if row.status in ("failed", "skipped"):
        return f"{row.status:9} {name}: {row.error}"
    seconds = sum(row.seconds.values())
    chunks = f"{row.chunks} chunks" + (f" ({row.chunks - row.kept} new)" if row.kept else "")
    text = f"{row.status:9} {name}: {clock(row.duration_s)} long, {chunks}, {seconds:.1f} s"
    return f"{text}; {row.warning}" if row.warning else text
