"""Running the dataset to its end while counting its answers, and ending it decently when the user has had enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.data import Dataset

from pipelines.ingest.follow import interruptions, user_error

# Fast enough for a progress bar, and nothing in a job's cost.
_POLL_S = 0.2

# After Ctrl-C: time for the answers being decoded to end and to be stored.
_GRACE_S = 30.0

OnCounts = Callable[[int, int], None]
"""Called with the rows that are stored so far, and how many of them have no answer."""


def follow(dataset: Dataset, tracker: Any, on_counts: OnCounts, stop: threading.Event | None = None) -> None:
    """Run ``dataset`` to its end.

    Ctrl-C, SIGTERM or ``stop`` ends it behind the answers at work; a second Ctrl-C at once.

    :raises KeyboardInterrupt: it was ended so.
    :raises VideoX2LError: an actor could not start, or gave the job up.
    """
    errors: list[BaseException] = []

    def consume() -> None:
        try:
            for _ in dataset.iter_rows():
                pass
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=consume, daemon=True, name="videox2l-batch")
    with interruptions(stop or threading.Event()) as interrupted:
        thread.start()
        deadline = None
        while thread.is_alive():
            thread.join(_POLL_S)
            on_counts(*ray.get(tracker.counts.remote()))
            if deadline is None and interrupted.is_set():
                deadline = time.monotonic() + _GRACE_S
                tracker.stop.remote()
            if deadline is not None and time.monotonic() > deadline:
                break
        on_counts(*ray.get(tracker.counts.remote()))
        if interrupted.is_set():
            raise KeyboardInterrupt
        if (failure := ray.get(tracker.failure.remote())) is not None:
            raise failure
        if errors:
            raise user_error(errors[0])
