"""The unit everything else moves around: the keys and values that one level keeps of one stretch of input.

Shape legend used throughout the project: B batch, L layers, H KV heads, Q query heads, T tokens, D head dimension,
N hidden size, F frames, C colour channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

Level = Literal["low", "high"]
"""``low``: low compression, fine detail. ``high``: high compression, the gist."""

LEVELS: tuple[Level, ...] = ("low", "high")


@dataclass(frozen=True)
class KV:
    """Keys *before RoPE* and values of T consecutive memory tokens, for every layer.

    ``keys_LHTD`` and ``values_LHTD`` have equal shape and dtype: [layers, KV heads, tokens, head dimension].

    ``next_position`` is for models whose positions are not one number a token (M-RoPE). Their keys *are* rotated, each
    to its own position in the whole input, and text behind these tokens begins at ``next_position``.
    """

    keys_LHTD: torch.Tensor
    values_LHTD: torch.Tensor
    next_position: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.keys_LHTD.shape != self.values_LHTD.shape or self.keys_LHTD.ndim != 4:
            raise ValueError(f"keys {tuple(self.keys_LHTD.shape)} and values {tuple(self.values_LHTD.shape)} differ")

    @property
    def tokens(self) -> int:
        return self.keys_LHTD.shape[2]

    @property
    def nbytes(self) -> int:
        return self.keys_LHTD.nbytes + self.values_LHTD.nbytes

    def to(self, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> KV:
        return KV(
            self.keys_LHTD.to(device, dtype), self.values_LHTD.to(device, dtype), next_position=self.next_position
        )


ChunkKV = Mapping[Level, KV]
"""Both levels of one chunk, as a prefill yields them and a writer takes them."""


def lay_side_by_side(parts: list[KV], device: torch.device | None = None) -> None:
    """Replace ``parts`` by equal views of one buffer, in which each lies beside the one before it.

    :class:`~videox2l.kv.Mixer` copies such KVs in one go. The buffer is on ``device``, by default where they are. One
    after the other is copied there and let go of, so that a long video's KVs are not in memory twice.
    """
    if not parts:
        return
    layers, heads, _, dim = parts[0].keys_LHTD.shape
    tokens = sum(part.tokens for part in parts)
    keys_LHTD, values_LHTD = (parts[0].keys_LHTD.new_empty(layers, heads, tokens, dim, device=device) for _ in range(2))
    start = 0
    for number, part in enumerate(parts):
        place = (slice(None), slice(None), slice(start, start + part.tokens))
        keys_LHTD[place].copy_(part.keys_LHTD)
        values_LHTD[place].copy_(part.values_LHTD)
        parts[number] = KV(keys_LHTD[place], values_LHTD[place], next_position=part.next_position)
        start += part.tokens


def concatenate(parts: Sequence[KV]) -> KV:
    """Join KVs along the token axis. ``parts`` must not be empty."""
    return KV(
        torch.cat([part.keys_LHTD for part in parts], dim=2),
        torch.cat([part.values_LHTD for part in parts], dim=2),
        next_position=parts[-1].next_position,
    )
