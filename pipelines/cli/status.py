"""Exit statuses of jobs, which a scheduler decides by whether to run the command again."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from videox2l.errors import ConfigError, ModelError, VideoX2LError

DONE = 0
"""Everything was done."""

SOME_FAILED = 1
"""The job went through, but some of its items failed: their reasons are reported. Other commands: an error."""

WRONG_USAGE = 2
"""The command, a setting or the model is wrong. Nothing was done, and nothing will be until that is mended."""

STOPPED = 3
"""The job could not go on: its storage or its cluster failed. The same command goes on where it stopped."""

INTERRUPTED = 130
"""Ctrl-C or SIGTERM. The same command goes on where it stopped."""

GO_ON = "What is committed is safe. Run the same command again to go on."


class JobEndedError(Exception):
    """A job ended early because of ``error``; ``known`` tells whether its message says all that a user needs."""

    def __init__(self, error: BaseException, status: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.status = status

    @property
    def known(self) -> bool:
        from ray.exceptions import RayError

        # Ray says with a ConnectionError that there is no cluster, with a RuntimeError that it cannot start one.
        return isinstance(self.error, VideoX2LError | RayError | ConnectionError | RuntimeError)


@contextmanager
def job() -> Iterator[None]:
    """What is raised inside becomes :class:`JobEndedError` with the status that fits. SIGTERM is taken for Ctrl-C.

    :raises JobEndedError: for every exception but those that end the interpreter, Ctrl-C apart.
    """
    from videox2l.prefill.append import AppendError

    try:
        with _sigterm_as_ctrl_c():
            yield
    except (ConfigError, ModelError, AppendError) as error:
        raise JobEndedError(error, WRONG_USAGE) from error
    except KeyboardInterrupt as error:
        raise JobEndedError(error, INTERRUPTED) from error
    except Exception as error:
        raise JobEndedError(error, STOPPED) from error


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """By default it would end this process alone, and leave what it has started."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
