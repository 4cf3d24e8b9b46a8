"""One small actor that all workers of a job report to: progress, duplicates, attempts, and the wish to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.ingest.events import ChunkDone, Event
from videox2l.errors import VideoX2LError

MAX_ATTEMPTS = 2
"""How often a video may be handed to a prefill process without getting any further. Ray repeats what a lost process was
doing, which is right for a lost machine; a video that takes its process down again would do so for ever."""

REPORT_EVERY_S = 0.1
"""The driver looks five times a second."""


class Stopped(Exception):  # noqa: N818 -- not an error: the user asked for it, or nothing more can be done
    """The job is to end: leave everything so that another one can go on."""


@dataclass
class _Attempts:
    stored: int  # chunks that were stored when the first of them began
    node: str  # where the last of them ran
    count: int = 0


class Tracker:
    """The actor's state. Its calls take microseconds; a chunk takes a hundred milliseconds or more."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._owners: dict[str, str] = {}
        self._attempts: dict[str, _Attempts] = {}
        self._stopping = False
        self._failure: VideoX2LError | None = None

    def claim(self, video_id: str, source: str) -> str:
        """The source that stands for this content: the first that claimed it. Asking again changes nothing."""
        return self._owners.setdefault(video_id, source)

    def attempt(self, source: str, stored: int, node: str, alive: Set[str]) -> int:
        """Count an attempt at ``source`` that goes on behind ``stored`` chunks: the how manieth that got no further.

        ``node`` is where it runs. One that ended with its machine is not counted, if that is not ``alive`` any more.
        """
        known = self._attempts.get(source)
        if known is None or stored > known.stored:
            known = self._attempts[source] = _Attempts(stored, node)
        elif known.node not in alive:
            known.count -= 1
        known.node = node
        known.count += 1
        return known.count

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

    def give_up(self, reason: VideoX2LError) -> None:
        """End the job, because no video can be ingested any more."""
        self._failure = self._failure or reason
        self._stopping = True

    def failure(self) -> VideoX2LError | None:
        """Why the job was given up, if it was."""
        return self._failure


@contextmanager
def running_tracker(kind: type = Tracker) -> Iterator[Any]:
    """The handle of an actor of class ``kind``. It lives beside the driver: losing another machine does not lose it."""
    # Not soft: Ray would then take another machine if this one is busy starting a process.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    tracker = ray.remote(kind).options(num_cpus=0, scheduling_strategy=here).remote()
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


class ChunkReports:
    """Tells the driver how many chunks of a video are done: of the first, the last, and as many between as are of use.

    A report costs a millisecond or two, here and in the tracker's process; a small model's chunk takes five.
    """

    def __init__(self, tracker: Any, source: str) -> None:
        self._tracker = tracker
        self._source = source
        self._new = 0
        self._next = -math.inf

    def __call__(self, done: int, *, last: bool) -> None:
        """One more chunk, so that ``done`` are.

        :raises Stopped: the job is to end.
        """
        self._new += 1
        now = time.monotonic()
        if last or now >= self._next:
            event, self._new = ChunkDone(self._source, done, self._new), 0
            self._next = now + REPORT_EVERY_S
            report(self._tracker, event)


def attempt(tracker: Any, source: str, stored: int) -> int:
    """Count an attempt of this process; see :meth:`Tracker.attempt`."""
    here = ray.get_runtime_context().get_node_id()
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    count: int = ray.get(tracker.attempt.remote(source, stored, here, alive))
    return count
