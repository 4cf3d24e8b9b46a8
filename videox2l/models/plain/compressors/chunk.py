"""What a compressor is given, and how those that score tokens choose among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from videox2l.kv import KV

Share = Literal["head", "layer", "all"]
"""Who keeps the same tokens: every KV head its own, all heads of a layer, or all layers."""


@dataclass(frozen=True)
class DenseChunk:
    """All that one pass over a chunk leaves behind, before RoPE.

    ``queries_LQTD`` are the chunk's own, ``proxy_LQPD`` those of the P tokens of the chat template in front of the
    video. ``tokens_per_frame`` divides T; where a model takes a few frames as one step in time, they are one here.
    ``positions_3T``: time, row and column of each token, for models that have three positions a token.
    """

    kv: KV
    queries_LQTD: torch.Tensor
    proxy_LQPD: torch.Tensor
    tokens_per_frame: int
    positions_3T: torch.Tensor | None = None


@dataclass(frozen=True)
class Kept(KV):
    """What a compressor keeps, in time order. ``places_LHK``: the chunk's token that each stands for, 0 … T - 1.

    Text that stands between frames goes back to its place by them. With three positions a token, what is kept has those
    of the token that it stands for, or ``positions_3LHK``, which need not be whole.
    """

    places_LHK: torch.Tensor
    positions_3LHK: torch.Tensor | None = None


class Compressor(Protocol):
    """Keep ``keep`` tokens (1 … T) of a chunk. ``share`` means nothing to those that choose no tokens."""

    def __call__(self, chunk: DenseChunk, keep: int, share: Share, /) -> Kept: ...


def scored(score: Callable[[DenseChunk], torch.Tensor]) -> Compressor:
    """Keep the tokens with the highest scores ``[L, H, T]``, in time order."""

    def compress(chunk: DenseChunk, keep: int, share: Share) -> Kept:
        scores_LHT = _shared(score(chunk).float(), share)
        # Stable, so that among equals the earlier token is kept wherever this runs.
        best_LHK = scores_LHT.argsort(dim=-1, descending=True, stable=True)[..., :keep].sort(dim=-1).values
        rows_LHKD = best_LHK[..., None].expand(*best_LHK.shape, chunk.kv.keys_LHTD.shape[-1])
        return Kept(chunk.kv.keys_LHTD.gather(2, rows_LHKD), chunk.kv.values_LHTD.gather(2, rows_LHKD), best_LHK)

    return compress


def standardised(scores_XT: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit variance over the last axis, so that scores of unlike scales can be added up."""
    centred_XT = scores_XT - scores_XT.mean(-1, keepdim=True)
    # The smallest normal float32: all tokens alike get 0.
    return centred_XT / centred_XT.square().mean(-1, keepdim=True).sqrt().clamp_min(torch.finfo(torch.float32).tiny)


def grouped(queries_LQTD: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """Queries by the KV head that they read, ``[L, H, Q / H, T, D]`` in float32."""
    return queries_LQTD.float().unflatten(1, (kv_heads, -1))


def _shared(scores_LHT: torch.Tensor, share: Share) -> torch.Tensor:
    if share == "head":
        return scores_LHT
    axes = (1,) if share == "layer" else (0, 1)
    return standardised(scores_LHT).mean(axes, keepdim=True).expand_as(scores_LHT)
