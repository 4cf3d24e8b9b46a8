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

from pipelines.ingest.events import ChunkDone, Event, OnProgress, RowFinished, VideoPlanned, VideoStarted
from pipelines.ingest.rows import IngestRow
from videox2l.errors import VideoX2LError

# Fast enough for a progress bar, and nothing in a job's cost.
_POLL_S = 0.2

# After Ctrl-C: time for the chunks at work to finish and for what is done to be stored.
_GRACE_S = 30.0


class StalledError(VideoX2LError):
    """Nothing has happened in the job for a long time."""


# Of the videos that a stalled job waits for.
_NAMED = 5

_Result = IngestRow | BaseException | None
"""A row of the dataset, what ended it, or its regular end."""


def follow(
    dataset: Dataset,
    tracker: Any,
    on_event: OnProgress,
    stall_timeout_s: float,
    stop: threading.Event | None = None,
) -> None:
    """Run ``dataset``, whose rows are :class:`StageRow`, and report every event and row, each row once, in this thread.

    Ctrl-C (and SIGTERM) stops the job after the chunks at work, so that it can go on from there later; a second one at
    once. So does ``stop`` when it is set.

    :raises KeyboardInterrupt: the job was stopped.
    :raises StalledError: nothing was heard for ``stall_timeout_s`` seconds.
    :raises VideoX2LError: a worker could not start, or a worker gave the job up.
    """
    results: SimpleQueue[_Result] = SimpleQueue()
    threading.Thread(target=_consume, args=(dataset, results), daemon=True, name="videox2l-ingest").start()
    reported: set[str] = set()
    stall = _Stall(stall_timeout_s)

    def hear(event: Event) -> None:
        stall.hear(event)
        if isinstance(event, RowFinished):
            if event.row.source in reported:
                return
            reported.add(event.row.source)
        on_event(event)

    with interruptions(stop or threading.Event()) as interrupted:
        deadline = None
        ended = False
        while not ended:
            found = _get(results)
            for event in ray.get(tracker.take.remote()):
                hear(event)
            for result in found:
                if isinstance(result, BaseException):
                    raise user_error(result)
                if result is None:
                    ended = True
                else:
                    hear(RowFinished(result))
            stall.check()
            if deadline is None and (interrupted.is_set() or not ray.get(tracker.report.remote())):
                deadline = time.monotonic() + _GRACE_S
                tracker.stop.remote()
            if deadline is not None and time.monotonic() > deadline:
                break
        if interrupted.is_set():
            raise KeyboardInterrupt
        if (failure := ray.get(tracker.failure.remote())) is not None:
            raise failure


class _Stall:
    """Notices when a job has come to a stop, and knows what it waits for."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._heard = time.monotonic()
        self._at_work: dict[str, str] = {}

    def hear(self, event: Event) -> None:
        self._heard = time.monotonic()
        match event:
            case VideoPlanned():
                self._at_work.setdefault(event.source, "planned")
            case VideoStarted():
                self._at_work[event.source] = "begun"
            case ChunkDone():
                self._at_work[event.source] = f"{event.done} chunks done"
            case RowFinished():
                self._at_work.pop(event.row.source, None)

    def check(self) -> None:
        """:raises StalledError: it has."""
        if time.monotonic() - self._heard < self._timeout_s:
            return
        found = [f"{source} ({state})" for source, state in list(self._at_work.items())[:_NAMED]]
        others = len(self._at_work) - len(found)
        waiting = ", ".join(found) + (f" and {others} more" if others else "") if found else "videos to be planned"
        total, free = ray.cluster_resources(), ray.available_resources()
        room = ", ".join(f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}s" for name in ("CPU", "GPU"))
        raise StalledError(
            f"no video was planned and no chunk was done for {self._timeout_s:g} s. The job waits for: {waiting}. The "
            f"cluster has {room} free. Look after its machines and their logs, and run the same command again: it goes "
            "on from here. If a single step takes so long by its nature, raise the stall timeout."
        )


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
def interruptions(interrupted: threading.Event) -> Iterator[threading.Event]:
    """``interrupted``, which the first SIGINT or SIGTERM sets, too; the second one acts as always."""
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


def user_error(error: BaseException) -> BaseException:
    """What a worker raised for the user to read, out of the layers that Ray wraps around it."""
    layer: BaseException | None = error
    while layer is not None:
        if isinstance(layer, VideoX2LError) and not isinstance(layer, RayError):
            return layer
        layer = getattr(layer, "cause", None) or layer.__cause__
    return error
