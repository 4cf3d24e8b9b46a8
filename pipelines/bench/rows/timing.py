"""Several ways to do the same work, timed in turn."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from pipelines.bench.flops import synchronize
from pipelines.bench.rows.peak_memory import peak_bytes, reset_peak


class Seconds(float):
    """What a work returns that has taken its own time."""


Work = Callable[[], object]
Prepare = Callable[[], Work]
"""Gets something ready, which is not timed, and returns what is."""

_WARM_UP = 2

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


@dataclass(frozen=True)
class Times:
    """Seconds of each way by repeat, and the most memory that was held while the first of them ran."""

    seconds: tuple[tuple[float, ...], ...]
    peak: int | None

    def median(self, way: int = 0) -> float:
        """Of one way."""
        return median(self.seconds[way])

    def ratio(self, way: int = 1) -> float:
        """The first way's time over another's: the median over repeats, each of which ran one after the other."""
        return median(own / other for own, other in zip(self.seconds[0], self.seconds[way], strict=True))


def timed(work: Work, device: torch.device) -> float:
    """Seconds until ``work`` is done, on a GPU too, or what it says itself. Its result is let go of afterwards."""
    synchronize(device)
    began = time.perf_counter()
    result = work()
    synchronize(device)
    seconds = time.perf_counter() - began
    return float(result) if isinstance(result, Seconds) else seconds


def keep_freed_memory() -> None:
    """Let this process use freed memory again, where its C library is glibc.

    By default glibc gives some back to the system, and whoever allocates next waits for new pages: three times as long
    as it takes to copy into them. Which of two ways that meets is chance.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@torch.inference_mode()
def in_turn(ways: Sequence[Prepare], device: torch.device, repeats: int) -> Times:
    """Run all ``ways``, one after the other, ``repeats`` times; before that, a few times unmeasured."""
    taken: list[list[float]] = [[] for _ in ways]
    peaks: list[int | None] = []
    gc.collect()
    for number in range(_WARM_UP + repeats):
        for way, prepare in enumerate(ways):
            work = prepare()
            if way == 0:
                reset_peak(device)
            seconds = timed(work, device)
            if number >= _WARM_UP:
                taken[way].append(seconds)
                if way == 0:
                    peaks.append(peak_bytes(device))
    return Times(tuple(map(tuple, taken)), max((peak for peak in peaks if peak is not None), default=None))
