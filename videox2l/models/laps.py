"""Where a prefill's time goes, without slowing it down."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from typing import Any

import torch


class Laps:
    """Seconds between marks, by the name of the later one; on a GPU by its own clock, without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.current_stream(device) if device.type == "cuda" else None
        self._marks: deque[tuple[str | None, Any]] = deque()
        self._total: dict[str, float] = defaultdict(float)

    def begin(self) -> None:
        """What follows is of the next part; what came before, of none."""
        self._mark(None)

    def end(self, part: str) -> None:
        """A part ends here, and the next begins."""
        self._mark(part)

    def seconds(self) -> dict[str, float]:
        """By part, so far. Waits for the GPU."""
        if self._stream is not None:
            self._stream.synchronize()
        self._count_passed()
        return dict(self._total)

    def _mark(self, part: str | None) -> None:
        now = (
            time.perf_counter()
            if self._stream is None
            else self._stream.record_event(torch.cuda.Event(enable_timing=True))
        )
        self._marks.append((part, now))
        self._count_passed()

    def _count_passed(self) -> None:
        """Book what lies between marks that have been passed: a film has tens of thousands, which need not be kept."""
        while len(self._marks) > 1:
            (_, before), (part, after) = self._marks[0], self._marks[1]
            if self._stream is not None and not after.query():
                return
            self._marks.popleft()
            if part is not None:
                took = after - before if self._stream is None else before.elapsed_time(after) / 1000
                self._total[part] += took
