"""Ray itself: the cluster that is there, or one of our own for as long as the job takes, and quiet either way."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray.data import DataContext

# Decoded frames of a prefill worker and its next video: some 130 MB. Only small rows pass through the store otherwise.
_OBJECT_STORE_BYTES = 2**30

# One process that decodes and one that plans, besides the prefill workers.
_HELPERS = 2

# Ray gives up when one of its own processes takes over 15 s to start, which happens on a machine under full load.
_START_TRIES = 3

_DATA_SETTINGS: dict[str, Any] = {
    "enable_progress_bars": False,
    "print_on_execution_start": False,
    # A block for each row: a finished video is seen at once, and an idle worker finds the next one.
    "target_max_block_size": 1,
    # Never: no row may finish for hours, when all workers are inside long videos.
    "execution_no_progress_timeout_s": -1,
}

_QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}

logger = logging.getLogger(__name__)


@contextmanager
def ray_cluster(prefill_actors: int, cpus_per_actor: float) -> Iterator[None]:
    """Use the cluster this process is connected to, or ``RAY_ADDRESS``; without either, start one on this machine.

    What was connected or started here is left again at the end.
    """
    if ray.is_initialized():
        yield
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**_QUIET)
    else:
        # Logical CPUs: a small machine shares its cores rather than refusing to decode beside a prefill.
        start_local(max(os.cpu_count() or 1, round(prefill_actors * cpus_per_actor) + _HELPERS))
    try:
        yield
    finally:
        ray.shutdown()


def start_local(cpus: int, object_store_bytes: int = _OBJECT_STORE_BYTES) -> None:
    """Start Ray on this machine with so many logical CPUs and connect to it. ``ray.shutdown()`` ends it.

    :raises RuntimeError: it does not come up.
    """
    # Workers without a GPU must not see one; Ray asks that a program says whether it relies on that.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    for attempt in range(_START_TRIES):
        try:
            # "local", because without an address Ray would join whatever cluster runs on this machine.
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=object_store_bytes,
                **_QUIET,
            )
            return
        except Exception as error:  # Ray raises nothing more special than this
            ray.shutdown()
            if attempt == _START_TRIES - 1:
                raise RuntimeError(f"Ray does not start on this machine: {error}") from error
            logger.warning("Ray did not start, trying again: %s", error)


@contextmanager
def quiet_ray_data() -> Iterator[None]:
    """Settings of Ray Data for datasets whose rows are whole videos; the caller's own settings come back afterwards."""
    context, logger = DataContext.get_current(), logging.getLogger("ray.data")
    before, level = {name: getattr(context, name) for name in _DATA_SETTINGS}, logger.level
    _set(context, _DATA_SETTINGS)
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        _set(context, before)
        logger.setLevel(level)


def _set(context: DataContext, settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        setattr(context, name, value)
