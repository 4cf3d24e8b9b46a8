"""Where workers and driver meet: an actor that takes reports and passes on the wish to stop."""

from __future__ import annotations

from dataclasses import dataclass

import ray

from videox2l.errors import VideoX2LError
from videox2l.training.vst.loop import StepDone


@dataclass(frozen=True)
class WorkersStarted:
    """All workers have loaded the model and stand at ``step``; ``pids`` are their processes, by rank."""

    step: int
    pids: tuple[int, ...]


@dataclass(frozen=True)
class VideoSkipped:
    """A video does not decode, and is left out."""

    reason: str


Event = WorkersStarted | VideoSkipped | StepDone


class _Board:
    """One for each run; it lives on the driver's node and needs no CPU worth counting."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._stop = False
        self._failure: VideoX2LError | None = None

    def report(self, event: Event) -> bool:
        """Take an event; says whether to stop."""
        self._events.append(event)
        return self._stop

    def collect(self) -> list[Event]:
        """The events since the last time."""
        events, self._events = self._events, []
        return events

    def stop(self) -> None:
        self._stop = True

    def fail(self, error: VideoX2LError) -> None:
        """An error that only the user can cure: starting the workers again would not help."""
        self._failure = self._failure or error

    def failure(self) -> VideoX2LError | None:
        return self._failure


Board = ray.remote(num_cpus=0)(_Board)
