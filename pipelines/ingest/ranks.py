"""Where a job prefills with a model that several devices hold together: room for all of them, taken for its length."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.util.placement_group import remove_placement_group

from pipelines.ingest.settings import IngestSettings
from pipelines.parallel.placement import in_bundle, place_ranks


@contextmanager
def prefill_place(settings: IngestSettings, gpus: float, *, fixed: bool) -> Iterator[dict[str, Any]]:
    """Ray's options for what runs where the prefill worker does: in the first bundle, where there are several ranks.

    ``gpus``: of a rank. ``fixed``: the cluster will not grow.

    :raises ConfigError: the cluster has not the room.
    """
    if settings.tensor_parallel == 1:
        yield {}
        return
    # Of a CPU at least as much as a task takes, since the model is looked at by one before the worker starts.
    bundle = {"CPU": max(1.0, settings.cpus_per_actor), **({"GPU": gpus} if gpus else {})}
    # On one machine, as ranks exchange activations twice a layer.
    group = place_ranks(bundle, settings.tensor_parallel, "STRICT_PACK", settings.placement_timeout_s, fixed=fixed)
    try:
        yield {"scheduling_strategy": in_bundle(group, 0)}
    finally:
        remove_placement_group(group)
