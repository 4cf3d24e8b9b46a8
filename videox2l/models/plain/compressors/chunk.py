"""What a compressor is given, and how those that score tokens choose among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch

from videox2l.kv import KV
from videox2l.models.plain.stretch import Rows

Share = Literal["head", "layer", "all"]
"""Who keeps the same tokens: every KV head its own, all heads of a layer, or all layers."""


@dataclass(frozen=True)
class DenseChunk:
    """All that one pass over a chunk leaves behind, before RoPE.

    ``queries_LQTD`` are the chunk's own, ``proxy_LQPD`` those of the P tokens of the chat template in front of the
    video. ``tokens_per_frame`` divides T.

    Models with three positions a token also have ``positions_3T``, and ``rotate(keys_LHKD, positions)`` for positions
    that broadcast to ``[3, L, H, K]``.
    """

    kv: KV
    queries_LQTD: torch.Tensor
    proxy_LQPD: torch.Tensor
    tokens_per_frame: int
    positions_3T: torch.Tensor | None = None
    rotate: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None

    def kept(self, kv: KV, positions: Callable[[torch.Tensor], torch.Tensor]) -> KV:
        """What a compressor keeps, ``kv`` before RoPE, as it is stored.

        ``positions(positions_3T)``: those of ``kv``'s tokens, ``[3, L, H, K]`` or such that they broadcast to it.
        """
        if self.positions_3T is None or self.rotate is None:
            return kv
        return KV(self.rotate(kv.keys_LHTD, positions(self.positions_3T)), kv.values_LHTD)

    def whole(self) -> KV:
        """All of it, as it is stored."""
        return self.kept(self.kv, lambda positions_3T: positions_3T[:, None, None])

    def part(self, rows: Rows) -> DenseChunk:
        """Some of the tokens."""
        return replace(
            self,
            kv=KV(self.kv.keys_LHTD[:, :, rows], self.kv.values_LHTD[:, :, rows]),
            queries_LQTD=self.queries_LQTD[:, :, rows],
            positions_3T=None if self.positions_3T is None else self.positions_3T[:, rows],
        )


class Compressor(Protocol):
    """Keep ``keep`` tokens (1 … T) of a chunk. ``share`` means nothing to those that choose no tokens."""

    def __call__(self, chunk: DenseChunk, keep: int, share: Share, /) -> KV: ...


def scored(score: Callable[[DenseChunk], torch.Tensor]) -> Compressor:
    """Keep the tokens with the highest scores ``[L, H, T]``, in time order."""

    def compress(chunk: DenseChunk, keep: int, share: Share) -> KV:
        scores_LHT = _shared(score(chunk).float(), share)
        # Stable, so that among equals the earlier token is kept wherever this runs.
        best_LHK = scores_LHT.argsort(dim=-1, descending=True, stable=True)[..., :keep].sort(dim=-1).values
        rows_LHKD = best_LHK[..., None].expand(*best_LHK.shape, chunk.kv.keys_LHTD.shape[-1])
        kv = KV(chunk.kv.keys_LHTD.gather(2, rows_LHKD), chunk.kv.values_LHTD.gather(2, rows_LHKD))
        return chunk.kept(kv, lambda positions_3T: positions_3T[:, best_LHK])

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
