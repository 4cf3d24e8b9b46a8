"""Watching an ingest: bars in a terminal, plain lines in a log file, JSON lines for a program, or nothing."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Literal

from rich.console import Console

from pipelines.ingest.bars import Bars
from pipelines.ingest.events import Event, JobStarted, RowFinished
from pipelines.ingest.lines import Failures, JsonLines, Lines, View
from pipelines.ingest.settings import PROGRESS_EVERY_S
from pipelines.ingest.tally import Clock, Tally

Style = Literal["auto", "bars", "lines", "json", "none"]
"""``auto``: bars in a terminal, otherwise lines. ``none``: only videos that fail."""

# Bars look alive at this pace.
_BARS_EVERY_S = 0.5


class IngestProgress:
    """Shows what an ingest reports; pass the object itself as ``on_progress``.

    ::

        with IngestProgress() as show:
            summary = ingest(["clips/"], "archive", on_progress=show)

    ``every_s``: seconds between two lines that say how far the job is, also when nothing else happens.
    """

    def __init__(
        self,
        console: Console | None = None,
        style: Style = "auto",
        every_s: float = PROGRESS_EVERY_S,
        timer: Clock = time.monotonic,
    ) -> None:
        console = console or Console(stderr=True, emoji=False)
        if style == "auto":
            style = "bars" if console.is_terminal else "lines"
        self._view = _view(style, console)
        self._tally = Tally(timer)
        self._every_s = _BARS_EVERY_S if style == "bars" else every_s
        # Events come in the driver's main thread, the beat from one of our own.
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._beat = threading.Thread(target=self._keep_time, daemon=True, name="videox2l-progress")

    def __enter__(self) -> IngestProgress:
        self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._beat.join()
        if self._tally.videos:
            self._view.update(self._tally.snapshot())
        self._view.close()

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        with self._lock:
            self._tally.hear(event)
            if isinstance(event, JobStarted):
                self._view.started(event.videos)
            elif isinstance(event, RowFinished):
                self._view.finished(event.row)

    def _keep_time(self) -> None:
        while not self._ended.wait(self._every_s):
            with self._lock:
                self._view.update(self._tally.snapshot())


def _view(style: Style, console: Console) -> View:
    if style == "bars":
        return Bars(console)
    return {"lines": Lines, "json": JsonLines, "none": Failures}[style](console)
