"""Reading files that may take their reader down with them: in processes of their own, and not for ever.

These processes import neither torch nor transformers: what runs in them, and this module, must not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray import ObjectRef, ObjectRefGenerator
from ray.exceptions import RayError, RayTaskError

from videox2l.errors import VideoError

# A process can be lost for reasons that are not the file's: its machine goes, or memory runs out. One more try tells
# them apart, because a damaged file ends its reader at the same place again.
_RETRIES = 1

# Until a CPU is free and a process has started, which on a cluster that grows includes starting a machine.
_START_TIMEOUT_S = 1800.0


class DecoderCrashedError(VideoError):
    """The process that read the file was ended by it, in every attempt."""


class DecoderTimeoutError(VideoError):
    """The process that read the file did not come up with anything in time and was ended."""


def start_isolated(name: str, cpus: float, function: Callable[..., Any], *args: Any) -> ObjectRefGenerator:
    """Begin ``function(*args)`` in another process; :func:`results` gives what it returns, or yields if it iterates."""
    return _isolated.options(name=name, num_cpus=cpus).remote(function, *args)


def results(task: ObjectRefGenerator, source: str, timeout_s: float) -> Iterator[Any]:
    """What ``task`` yields, and in the end the exception that it raised.

    :param source: the file it reads, for messages.
    :raises DecoderTimeoutError: nothing came for ``timeout_s`` seconds (waiting for a process does not count); the
        task's process is killed then.
    :raises DecoderCrashedError: the task's process died, twice.
    """
    for number, reference in enumerate(_references(task, source, timeout_s)):
        value = _fetch(reference, source)
        del reference  # what it refers to leaves the object store once the consumer has let go of it, too
        if number > 0:
            yield value


@ray.remote(num_returns="streaming", max_retries=_RETRIES)
def _isolated(function: Callable[..., Any], *args: Any) -> Iterator[Any]:
    yield None  # the process is there: from now on it is the file that takes the time
    value = function(*args)
    if isinstance(value, Iterator):
        yield from value
    else:
        yield value


def _references(task: ObjectRefGenerator, source: str, timeout_s: float) -> Iterator[ObjectRef]:
    limit_s = _START_TIMEOUT_S
    while True:
        ready, _ = ray.wait([task], timeout=limit_s)
        if not ready:
            # Only force helps: a decoder that hangs does so in C code, where no exception reaches it.
            ray.cancel(task, force=True)
            raise DecoderTimeoutError(_timeout_message(source, limit_s, started=limit_s == timeout_s))
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
    except RayError as error:
        raise DecoderCrashedError(
            f"{source}: the process that reads it died, {_RETRIES + 1} times ({type(error).__name__}). The file is "
            "probably damaged: copy or download it again, or convert it with `ffmpeg -i FILE NEW.mkv`."
        ) from error


def _timeout_message(source: str, limit_s: float, *, started: bool) -> str:
    if started:
        return (
            f"{source}: nothing came from its decoding process in {limit_s:g} s. The file may be damaged; if it is "
            "only slow to decode, raise the decode timeout."
        )
    return (
        f"{source}: the cluster had no CPU free to decode it in {limit_s:g} s. Use fewer prefill actors, or give it "
        "more CPUs."
    )
