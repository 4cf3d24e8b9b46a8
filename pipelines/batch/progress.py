"""Watching a batch: a bar in a terminal, elsewhere a line every so often."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipelines.ingest.summary import clock

Style = Literal["auto", "bar", "lines", "none"]


class BatchProgress:
    """Shows how far a batch is; pass the object itself as ``on_progress``. ``every_s``: seconds between two lines."""

    def __init__(self, console: Console | None = None, style: Style = "auto", every_s: float = 30.0) -> None:
        self._console = console or Console(stderr=True)
        self._style = ("bar" if self._console.is_terminal else "lines") if style == "auto" else style
        self._every_s = every_s
        self._began: float | None = None
        self._said = -every_s
        self._bar = Progress(
            TextColumn("questions"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=self._style != "bar",
        )
        self._task = self._bar.add_task("questions", total=None, pace="starting")

    def __enter__(self) -> BatchProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, total: int, earlier: int, done: int, failed: int) -> None:
        """``done`` of this run's questions are stored, ``failed`` of them without an answer."""
        now = time.monotonic()
        if self._began is None and done:
            self._began = now  # the start of Ray and of the model says nothing about what is left
        pace = self._pace(total - earlier - done, done, now, failed)
        self._bar.update(self._task, total=total, completed=earlier + done, pace=", ".join(pace))
        ended = earlier + done == total
        if self._style == "lines" and (ended or now - self._said >= self._every_s) and self._said < float("inf"):
            self._console.file.write(", ".join([f"{earlier + done}/{total} questions", *pace]) + "\n")
            self._console.file.flush()
            self._said = float("inf") if ended else now

    def _pace(self, left: int, done: int, now: float, failed: int) -> list[str]:
        parts = []
        if self._began is not None and now > self._began:
            speed = done / (now - self._began)
            parts.append(f"{speed:.3g} a second")
            if left:
                parts.append(f"about {clock(left / speed)} left")
        elif left:
            parts.append("starting")
        if failed:
            parts.append(f"{failed} failed")
        return parts
