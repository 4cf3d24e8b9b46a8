"""A Ray of our own on this machine, for as long as a job takes and without its chatter."""

from __future__ import annotations

import logging
import os
from typing import Any

import ray

# Ray gives up when one of its own processes takes over 15 s to start, which happens on a machine under full load.
_START_TRIES = 3

QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
"""Arguments of ``ray.init`` that leave the terminal to the job's own output."""

logger = logging.getLogger(__name__)


def start_local(cpus: int, object_store_bytes: int) -> None:
    """Start Ray on this machine with so many logical CPUs and connect to it. ``ray.shutdown()`` ends it.

    :raises RuntimeError: it does not come up.
    """
    # Workers without a GPU must not see one; Ray asks that a program says whether it relies on that.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    # Ray's workers yield to everything else on the machine (niceness 15). Here a person waits for them.
    os.environ.setdefault("RAY_worker_niceness", "0")
    for attempt in range(_START_TRIES):
        try:
            # "local", because without an address Ray would join whatever cluster runs on this machine.
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=object_store_bytes,
                **QUIET,
            )
            return
        except Exception as error:  # Ray raises nothing more special than this
            ray.shutdown()
            if attempt == _START_TRIES - 1:
                raise RuntimeError(f"Ray does not start on this machine: {error}") from error
            logger.warning("Ray did not start, trying again: %s", error)
