"""One small actor that all workers of a batch report to: what is answered, attempts, and the wish to stop."""

from __future__ import annotations

import time
from collections.abc import Sequence

from videox2l.errors import VideoX2LError

MAX_ATTEMPTS = 3
"""How often a video may be handed to a process without any new answer being stored. Ray repeats what a lost process was
doing, which is right for a lost machine; questions that take their process down would do so for ever."""


class Tracker:
    """The actor's state."""

    def __init__(self) -> None:
        self._stored: dict[int, bool] = {}
        self._attempts: dict[tuple[str, int], int] = {}
        self._stopping = False
        self._failure: VideoX2LError | None = None
        self._ready: float | None = None

    def ready(self) -> None:
        """An actor has its model and can answer."""
        if self._ready is None:
            self._ready = time.monotonic()

    def ready_ago(self) -> float:
        """Seconds since the first actor was; 0 if none is yet."""
        return 0.0 if self._ready is None else time.monotonic() - self._ready

    def stored(self, rows: Sequence[int], errors: Sequence[int]) -> None:
        """So many more ``rows`` are stored with an answer, ``errors`` with none."""
        self._stored.update(dict.fromkeys(errors, False))
        self._stored.update(dict.fromkeys(rows, True))

    def attempt(self, video_id: str, answered: int) -> int:
        """Count an attempt at a video that goes on behind so many answers: the how manieth that got no further."""
        key = (video_id, answered)
        self._attempts[key] = self._attempts.get(key, 0) + 1
        return self._attempts[key]

    def counts(self) -> tuple[int, int]:
        """Rows that are stored, and how many of them have no answer."""
        good = sum(self._stored.values())
        return len(self._stored), len(self._stored) - good

    def goes_on(self) -> bool:
        return not self._stopping

    def stop(self) -> None:
        self._stopping = True

    def give_up(self, reason: VideoX2LError) -> None:
        """End the job, because no answer can be stored any more."""
        self._failure = self._failure or reason
        self._stopping = True

    def failure(self) -> VideoX2LError | None:
        """Why the job was given up, if it was."""
        return self._failure
