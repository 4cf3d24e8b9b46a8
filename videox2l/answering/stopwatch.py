"""How long the stages of an answer take."""

from __future__ import annotations

import time


class Stopwatch:
    """Milliseconds by stage, in the order the stages ran; from ``start`` (of ``time.perf_counter()``) or now on."""

    def __init__(self, start: float | None = None) -> None:
        self.start = time.perf_counter() if start is None else start
        self._last = self.start
        self.milliseconds: dict[str, float] = {}

    def lap(self, stage: str, at: float | None = None) -> None:
        """Book the time since the last lap, until ``at`` or now, on ``stage``."""
        now = time.perf_counter() if at is None else at
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + (now - self._last) * 1000
        self._last = now

    def since_start(self, stage: str) -> None:
        """Book the time since the question arrived on ``stage``."""
        self.milliseconds[stage] = (time.perf_counter() - self.start) * 1000
