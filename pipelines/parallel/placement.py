"""Room on a cluster for all ranks of a model at once, or for none of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from videox2l.errors import ConfigError

START_TIMEOUT_S = 600.0
"""A cluster that grows has new machines within ten minutes."""


def place_ranks(
    bundle: Mapping[str, float], ranks: int, strategy: str, timeout_s: float, *, fixed: bool = False
) -> Any:
    """A placement group with a bundle of resources for each rank; ``remove_placement_group`` gives them back.

    :param strategy: ``STRICT_PACK``: on one machine. ``PACK``: on more where that must be.
    :param fixed: the cluster will not grow, so what it does not have in all need not be waited for.
    :raises ConfigError: there is not so much room within ``timeout_s``.
    """
    if ranks < 1:
        raise ConfigError(f"a model needs at least one rank, not {ranks}")
    total = ray.cluster_resources()
    lacking = any(total.get(kind, 0) < ranks * amount for kind, amount in bundle.items())
    group = None if fixed and lacking else placement_group([dict(bundle)] * ranks, strategy=strategy)
    if group is not None and group.wait(timeout_s):
        return group
    if group is not None:
        remove_placement_group(group)
    wanted = " and ".join(f"{amount:g} {kind}" for kind, amount in bundle.items())
    waited = f" within {timeout_s:g} s" if group is not None else ""
    raise ConfigError(
        f"no room for {ranks} ranks of {wanted} each ({strategy}){waited}; the cluster has "
        f"{total.get('CPU', 0):g} CPU and {total.get('GPU', 0):g} GPU in all, and other work may hold some of it"
    )


def in_bundle(group: Any, rank: int) -> PlacementGroupSchedulingStrategy:
    """The scheduling strategy of what runs in the bundle of ``rank``."""
    return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
