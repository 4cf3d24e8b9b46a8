"""The most memory that this process and those below it have held, sampled while something runs."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from types import TracebackType

import psutil

# Decoding and prefill hold their memory for a chunk or longer, which is about as long.
_EVERY_S = 0.5

# The kernel walks all pages of a process to tell its share of them, and takes the processor from what is measured: ten
# processes with a model or a codec in them take a tenth of a second. It may have this share of the time.
_SHARE = 0.02


class MemorySampler:
    """A context manager. ``peak`` is the most bytes at one time, ``peak_by_kind`` each kind of process's own most.

    Proportional set sizes, so memory that processes share (Ray's object store) counts once. Kinds: ``driver`` (this
    process), ``prefill`` and ``decode`` workers, ``other workers`` of Ray, and ``ray`` itself. Zero where the system
    does not tell proportional sizes.
    """

    def __init__(self) -> None:
        self.peak = 0
        self.peak_by_kind: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="videox2l-memory", daemon=True)

    def __enter__(self) -> MemorySampler:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        pause_s = _EVERY_S
        while not self._stop.wait(pause_s):
            began = time.perf_counter()
            held = _held_now()
            pause_s = max(_EVERY_S, (time.perf_counter() - began) / _SHARE)
            self.peak = max(self.peak, sum(held.values()))
            for name, size in held.items():
                self.peak_by_kind[name] = max(self.peak_by_kind.get(name, 0), size)


def _held_now() -> dict[str, int]:
    held: dict[str, int] = defaultdict(int)
    driver = psutil.Process()
    for process in [driver, *driver.children(recursive=True)]:
        try:
            kind = "driver" if process == driver else _kind(" ".join(process.cmdline()))
            held[kind] += int(getattr(process.memory_full_info(), "pss", 0))
        except psutil.Error:
            continue  # it has just ended
    return held


def _kind(title: str) -> str:
    """What a process does, by the title that Ray gives its workers."""
    if not title.startswith("ray::"):
        return "ray"
    if "PrefillStage" in title:
        return "prefill"
    return "decode" if title.startswith("ray::decode") else "other workers"
