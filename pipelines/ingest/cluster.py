"""Ray itself: the cluster that is there, or one of our own for as long as the job takes, and quiet either way."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray.data import DataContext

from pipelines.local_ray import connect, named_cluster, start_local

# Decoded frames of a prefill worker and its next video: some 130 MB. Only small rows pass through the store otherwise.
_OBJECT_STORE_BYTES = 2**30

# One process that decodes and one that plans, besides the prefill workers.
_HELPERS = 2

_DATA_SETTINGS: dict[str, Any] = {
    "enable_progress_bars": False,
    "print_on_execution_start": False,
    # A block for each row: a finished video is seen at once, and an idle worker finds the next one.
    "target_max_block_size": 1,
    # Never: no row may finish for hours, when all workers are inside long videos.
    "execution_no_progress_timeout_s": -1,
}


@contextmanager
def ray_cluster(prefill_actors: int, cpus_per_actor: float) -> Iterator[bool]:
    """Use the cluster this process is connected to, or ``RAY_ADDRESS``; without either, start one on this machine.

    What was connected or started here is left again at the end. Yields whether it was started here, and so never grows.
    """
    if ray.is_initialized():
        yield False
        return
    address = named_cluster()
    if address is not None:
        connect(address)
    else:
        # Logical CPUs: a small machine shares its cores rather than refusing to decode beside a prefill.
        start_local(max(os.cpu_count() or 1, round(prefill_actors * cpus_per_actor) + _HELPERS), _OBJECT_STORE_BYTES)
    try:
        yield address is None
    finally:
        ray.shutdown()


@contextmanager
def quiet_ray_data() -> Iterator[None]:
    """Settings of Ray Data for datasets whose rows are whole videos; the caller's own settings come back afterwards."""
    context, logger = DataContext.get_current(), logging.getLogger("ray.data")
    before, level = {name: getattr(context, name) for name in _DATA_SETTINGS}, logger.level
    _set(context, _DATA_SETTINGS)
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Ray Data deprecates options such as a placement group, from Ray 2.64 on, and has nothing in their place.
            warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
            yield
    finally:
        _set(context, before)
        logger.setLevel(level)


def _set(context: DataContext, settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        setattr(context, name, value)
