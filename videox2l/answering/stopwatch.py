"""How long the stages of an answer take."""

from __future__ import annotations

import time


class Stopwatch:
    """Milliseconds by stage, in the order the stages ran."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.milliseconds: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """Book the time since the last lap on ``stage``."""
        now = time.perf_counter()
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + (now - self._last) * 1000
        self._last = now

    def since_start(self, stage: str) -> None:
        """Book the time since the question arrived on ``stage``."""
        self.milliseconds[stage] = (time.perf_counter() - self._start) * 1000
