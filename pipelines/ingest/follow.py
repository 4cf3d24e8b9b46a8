"""Running a dataset to its end while listening to its workers, and ending it decently when the user has had enough."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

import ray
from ray.data import Dataset
from ray.exceptions import RayError

from pipelines.ingest.events import OnProgress, RowFinished
from pipelines.ingest.rows import IngestRow
from videox2l.errors import VideoX2LError

# Fast enough for a progress bar, and nothing in a job's cost.
_POLL_S = 0.2

# After Ctrl-C: time for the chunks at work to finish and for attempts to be deleted.
_GRACE_S = 30.0

_Result = IngestRow | BaseException | None
"""A row of the dataset, what ended it, or its regular end."""


def follow(dataset: Dataset, tracker: Any, on_event: OnProgress) -> None:
    """Run ``dataset``, whose rows are :class:`StageRow`, and report every event and row, each row once, in this thread.

    Ctrl-C (and SIGTERM) stops the job after the chunks at work and removes what is unfinished; a second one at once.

    :raises KeyboardInterrupt: the job was stopped.
    :raises VideoX2LError: a worker could not start.
    """
    results: SimpleQueue[_Result] = SimpleQueue()
    threading.Thread(target=_consume, args=(dataset, results), daemon=True, name="videox2l-ingest").start()
    reported: set[str] = set()

    def hear(event: Any) -> None:
        if isinstance(event, RowFinished):
            if event.row.source in reported:
                return
            reported.add(event.row.source)
        on_event(event)

    with _interruptions() as interrupted:
        deadline = None
        ended = False
        while not ended:
            found = _get(results)
            for event in ray.get(tracker.take.remote()):
                hear(event)
            for result in found:
                if isinstance(result, BaseException):
                    raise _user_error(result)
                if result is None:
                    ended = True
                else:
                    hear(RowFinished(result))
            if interrupted.is_set() and deadline is None:
                deadline = time.monotonic() + _GRACE_S
                tracker.stop.remote()
            if deadline is not None and time.monotonic() > deadline:
                break
        if interrupted.is_set():
            raise KeyboardInterrupt


def _get(results: SimpleQueue[_Result]) -> list[_Result]:
    """What the dataset has produced, after a moment's wait for the first of it."""
    found: list[_Result] = []
    try:
        found.append(results.get(timeout=_POLL_S))
        while True:
            found.append(results.get_nowait())
    except Empty:
        return found


def _consume(dataset: Dataset, results: SimpleQueue[_Result]) -> None:
    """Rows, then None; or the exception that ended the dataset."""
    try:
        for row in dataset.iter_rows():
            if row["result"]:
                results.put(IngestRow.from_json(row["result"]))
    except BaseException as error:
        results.put(error)
    else:
        results.put(None)


@contextmanager
def _interruptions() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second one acts as always."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted  # signals are the main thread's
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def interrupt(*_: Any) -> None:
        restore()
        interrupted.set()

    for number in previous:
        signal.signal(number, interrupt)
    try:
        yield interrupted
    finally:
        restore()


def _user_error(error: BaseException) -> BaseException:
    """What a worker raised for the user to read, out of the layers that Ray wraps around it."""
    layer: BaseException | None = error
    while layer is not None:
        if isinstance(layer, VideoX2LError) and not isinstance(layer, RayError):
            return layer
        layer = getattr(layer, "cause", None) or layer.__cause__
    return error
