"""One small actor that all workers of a job report to: progress, duplicates, attempts, and the wish to stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.ingest.events import Event

MAX_ATTEMPTS = 2
"""How often a video is handed to a prefill process. Ray repeats what a lost process was doing, which is right once, for
a lost machine; a video that takes its process down again would do so for ever."""


class Stopped(Exception):  # noqa: N818 -- not an error: the user asked for it
    """The job is to end: leave everything as if it had not begun."""


class Tracker:
    """The actor's state. Its calls take microseconds; a chunk takes a hundred milliseconds or more."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._owners: dict[str, str] = {}
        self._attempts: Counter[str] = Counter()
        self._stopping = False

    def claim(self, video_id: str, source: str) -> str:
        """The source that stands for this content: the first that claimed it. Asking again changes nothing."""
        return self._owners.setdefault(video_id, source)

    def attempt(self, source: str) -> int:
        """Count an attempt at ``source``: 1, 2, …"""
        self._attempts[source] += 1
        return self._attempts[source]

    def report(self, event: Event | None = None) -> bool:
        """Note ``event`` for the driver. Returns whether the job goes on."""
        if event is not None:
            self._events.append(event)
        return not self._stopping

    def take(self) -> list[Event]:
        """The events since the last call."""
        events, self._events = self._events, []
        return events

    def stop(self) -> None:
        self._stopping = True


@contextmanager
def running_tracker() -> Iterator[Any]:
    """The actor's handle. It lives beside the driver, so that losing another machine does not lose it."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    tracker = ray.remote(Tracker).options(num_cpus=0, scheduling_strategy=here).remote()
    try:
        yield tracker
    finally:
        ray.kill(tracker)


def report(tracker: Any, event: Event | None = None) -> None:
    """Tell ``tracker`` of ``event``.

    :raises Stopped: the job is to end.
    """
    if not ray.get(tracker.report.remote(event)):
        raise Stopped
