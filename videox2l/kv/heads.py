"""KVs cut along their heads, as tensor parallelism does: each rank keeps the KVs of its own KV heads.

Cutting and joining is exact, as every head's keys and values are stored apart: what two ranks have made answers on one,
and the reverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from videox2l.errors import ConfigError
from videox2l.kv.chunk import KV


@dataclass(frozen=True, order=True)
class HeadRange:
    """KV heads ``start`` … ``stop - 1`` of a model, in every layer.

    :raises ValueError: it is empty or begins below 0.
    """

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"there are no KV heads from {self.start} to {self.stop}")

    def __len__(self) -> int:
        return self.stop - self.start

    def of(self, kv: KV) -> KV:
        """Only these heads of KVs that hold all of the model's; views, no copies.

        :raises ValueError: ``kv`` has fewer heads.
        """
        count = kv.keys_LHTD.shape[1]
        if self.stop > count:
            raise ValueError(f"KVs of {count} heads do not hold heads {self.start} to {self.stop - 1}")
        heads = slice(self.start, self.stop)
        return KV(kv.keys_LHTD[:, heads], kv.values_LHTD[:, heads], next_position=kv.next_position)


def head_ranges(kv_heads: int, ranks: int) -> tuple[HeadRange, ...]:
    """Which of a model's ``kv_heads`` each of ``ranks`` keeps: equally many, in the order of the ranks.

    :raises ConfigError: the heads cannot be shared out evenly.
    """
    if ranks < 1 or kv_heads % ranks:
        fitting = [str(count) for count in range(1, kv_heads + 1) if kv_heads % count == 0]
        raise ConfigError(
            f"{kv_heads} KV heads cannot be shared out evenly over {ranks} ranks: use {' or '.join(fitting)}"
        )
    share = kv_heads // ranks
    return tuple(HeadRange(rank * share, (rank + 1) * share) for rank in range(ranks))


def hold_all_heads(ranges: Sequence[HeadRange], kv_heads: int) -> bool:
    """Whether each of a model's ``kv_heads`` is in one of ``ranges``, in their order."""
    ends = [0, *(part.stop for part in ranges)]
    return [part.start for part in ranges] == ends[:-1] and ends[-1] == kv_heads


def split_heads(kv: KV, ranks: int) -> list[KV]:
    """One KV a rank, ``[L, H / ranks, T, D]``, of KVs that hold all heads; views, no copies.

    :raises ConfigError: the heads cannot be shared out evenly.
    """
    return [heads.of(kv) for heads in head_ranges(kv.keys_LHTD.shape[1], ranks)]


def join_heads(parts: Sequence[KV]) -> KV:
    """The inverse of :func:`split_heads`. ``parts`` must not be empty; in the order of the ranks."""
    return KV(
        torch.cat([part.keys_LHTD for part in parts], dim=1),
        torch.cat([part.values_LHTD for part in parts], dim=1),
        next_position=parts[0].next_position,
    )
