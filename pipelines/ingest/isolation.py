"""Reading files that may take their reader down with them: in processes of their own, and not for ever.

These processes import neither torch nor transformers: what runs in them, and this module, must not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray import ObjectRef, ObjectRefGenerator
from ray.exceptions import RayError, RayTaskError, WorkerCrashedError

from videox2l.errors import VideoError, VideoX2LError

logger = logging.getLogger(__name__)

TRIES = 2
"""How often a process may die in, or hang at, one place of a file. A process can be lost for reasons that are not the
file's; one more try tells them apart, because a damaged file ends its reader at the same place again."""

# Machines that go, and results that go with them, are not the file's fault. But so many of them in a row, at one place
# of one file, mean that the cluster is in no state to work.
_LOSSES = 10

# Until a CPU is free and a process has started, which on a cluster that grows includes starting a machine.
_START_TIMEOUT_S = 1800.0

# A message costs both sides some milliseconds of processor time, more than a tenth of what it takes to decode a chunk
# of small pictures. So those come several at a time; a large model's take longer than this, and come one by one.
_MESSAGE_EVERY_S = 0.05


class DecoderCrashedError(VideoError):
    """The process that read the file was ended by it, in every attempt."""


class DecoderTimeoutError(VideoError):
    """The process that read the file did not come up with anything in time and was ended."""


class DecoderLostError(VideoX2LError):
    """The cluster did not provide the process that was to read the file, or did not keep it: not the file's fault."""


def start_isolated(name: str, cpus: float, function: Callable[..., Any], *args: Any) -> ObjectRefGenerator:
    """Begin ``function(*args)`` in another process; :func:`results` gives what it returns, or yields if it iterates."""
    return _isolated.options(name=name, num_cpus=cpus).remote(function, *args)


def results(task: ObjectRefGenerator, source: str, timeout_s: float) -> Iterator[Any]:
    """What ``task`` yields, and in the end the exception that it raised.

    :param source: the file it reads, for messages.
    :raises DecoderTimeoutError: nothing came for ``timeout_s`` seconds (waiting for a process does not count); the
        task's process is killed then.
    :raises DecoderCrashedError: the task's process died.
    :raises DecoderLostError: it was lost with its machine, or there was none.
    """
    for reference in _references(task, source, timeout_s):
        values = _fetch(reference, source)
        del reference  # what it refers to leaves the object store once the consumer has let go of it, too
        yield from values


class Tries:
    """Counts how often reading a file ended at one place. Call :meth:`again` after each loss, before the next try."""

    def __init__(self) -> None:
        self._place = -1
        self._faults = 0
        self._losses = 0

    def again(self, error: DecoderCrashedError | DecoderTimeoutError | DecoderLostError, place: int) -> None:
        """Raise ``error`` if reading has ended at ``place`` too often; otherwise note it."""
        if place > self._place:
            self._place, self._faults, self._losses = place, 0, 0
        fault = not isinstance(error, DecoderLostError)
        self._faults += fault
        self._losses += not fault
        if self._faults >= TRIES or self._losses >= _LOSSES:
            raise error
        logger.warning("%s It is tried again.", error)


def run_isolated(
    name: str, cpus: float, source: str, timeout_s: float, function: Callable[..., Any], *args: Any
) -> Any:
    """What ``function(*args)`` returns, or its only item if it iterates, from another process that is tried again.

    :raises VideoError: what ``function`` raised, or as :func:`results` does.
    """
    tries = Tries()
    while True:
        try:
            (result,) = results(start_isolated(name, cpus, function, *args), source, timeout_s)
            return result
        except (DecoderCrashedError, DecoderTimeoutError, DecoderLostError) as error:
            tries.again(error, 0)


# Tried again by whoever waits for it, who knows how far it got.
@ray.remote(num_returns="streaming", max_retries=0)
def _isolated(function: Callable[..., Any], *args: Any) -> Iterator[Any]:
    yield []  # the process is there: from now on it is the file that takes the time
    value = function(*args)
    yield from _in_messages(value if isinstance(value, Iterator) else iter((value,)))


def _in_messages(values: Iterator[Any]) -> Iterator[list[Any]]:
    waiting: list[Any] = []
    due = time.monotonic() + _MESSAGE_EVERY_S
    try:
        for value in values:
            waiting.append(value)
            if time.monotonic() >= due:
                yield waiting
                waiting, due = [], time.monotonic() + _MESSAGE_EVERY_S
    except Exception:
        yield waiting  # what came before an error is sound
        raise
    yield waiting


def _references(task: ObjectRefGenerator, source: str, timeout_s: float) -> Iterator[ObjectRef]:
    limit_s = _START_TIMEOUT_S
    while True:
        ready, _ = ray.wait([task], timeout=limit_s)
        if not ready:
            # Only force helps: a decoder that hangs does so in C code, where no exception reaches it.
            ray.cancel(task, force=True)
            raise _timeout(source, limit_s, started=limit_s == timeout_s)
        try:
            yield next(task)
        except StopIteration:
            return
        limit_s = timeout_s


def _fetch(reference: ObjectRef, source: str) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from None
    except WorkerCrashedError as error:
        raise DecoderCrashedError(
            f"{source}: the process that reads it died. The file is probably damaged: copy or download it again, or "
            "convert it with `ffmpeg -i FILE NEW.mkv`."
        ) from error
    except RayError as error:
        reason = str(error).strip().partition("\n")[0]
        raise DecoderLostError(
            f"{source}: the process that reads it was lost ({type(error).__name__}: {reason}). If this happens again "
            "and again, look after the cluster's machines and their memory; ingest it again then."
        ) from error


def _timeout(source: str, limit_s: float, *, started: bool) -> DecoderTimeoutError | DecoderLostError:
    if started:
        return DecoderTimeoutError(
            f"{source}: nothing came from its decoding process in {limit_s:g} s. The file may be damaged; if it is "
            "only slow to decode, raise the decode timeout."
        )
    return DecoderLostError(
        f"{source}: the cluster had no CPU free to decode it in {limit_s:g} s. Use fewer prefill actors, or give it "
        "more CPUs."
    )
