"""Work in a process of its own that may die."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

KILLED = 9
"""The exit status of a process that killed itself."""


def exit_status(run: Callable[[], object]) -> int:
    """How a forked process ends that calls ``run``: 0, or 1 after an error, unless it ended itself."""
    process = os.fork()
    if process == 0:
        try:
            run()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
