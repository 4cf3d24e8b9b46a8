"""A run in a terminal: what it will need, how it goes, and Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.cli.output import many, size
from videox2l.training.vst.estimate import Estimate
from videox2l.training.vst.loop import StepDone

# In a log file, where a bar cannot move.
_LINE_EVERY_S = 10.0


class StepProgress:
    """A bar in a terminal, a line every few seconds elsewhere; pass the object as ``on_step``."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, note="loading")
        self._last_line_s = 0.0
        self.step = 0

    def __enter__(self) -> StepProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, done: StepDone) -> None:
        self.step = done.step
        note = f"loss {done.loss:.3f}, {done.answer_tokens / done.seconds:.0f} answer tokens/s"
        self._bar.update(self._task, total=done.steps, completed=done.step, note=note)
        now = time.monotonic()
        last = done.step == done.steps
        if not self._console.is_terminal and (last or now - self._last_line_s > _LINE_EVERY_S):
            self._last_line_s = now
            self.say(f"step {done.step} of {done.steps}, {note}")

    def say(self, line: str) -> None:
        """A line above the bar."""
        self._console.print(escape(line), soft_wrap=True)


@contextmanager
def interrupts(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Within, the first Ctrl-C is a wish that the yielded function tells of; the second one interrupts."""
    wished = threading.Event()

    def on_signal(_number: int, _frame: Any) -> None:
        if wished.is_set():
            raise KeyboardInterrupt
        wished.set()
        say("stopping after this step; Ctrl-C again to stop without saving")

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield wished.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def estimate_table(needs: Estimate, workers: int, save_bytes: int) -> Table:
    """What a run will need, for ``--dry-run``."""
    table = Table.grid(padding=(0, 2))
    videos = (
        f"{needs.planned}, the longest {many(needs.longest_frames, 'frame')} in {many(needs.longest_chunks, 'chunk')}"
    )
    if needs.unusable:
        videos += f"; {len(needs.unusable)} cannot be used"
    memory = needs.memory
    rows = {
        "examples": f"{needs.examples} with {many(needs.questions, 'question')} about {many(needs.videos, 'video')}",
        "videos looked at": videos,
        "epochs": f"{needs.epochs:.2f}",
        "weights that learn": f"{needs.trained:,} ({needs.frozen:,} do not)",
        "memory of a worker" if workers else "memory": f"about {size(memory.total)}: weights {size(memory.weights)}, "
        f"gradients {size(memory.gradients)}, moments {size(memory.moments)}, activations {size(memory.activations)}",
        "each saved state": size(save_bytes),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table
