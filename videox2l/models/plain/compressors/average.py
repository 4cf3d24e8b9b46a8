"""Means of neighbouring tokens, as Video-XL-2 forms them (arXiv 2506.19225)."""

from __future__ import annotations

import torch

from videox2l.kv import KV
from videox2l.models.plain.compressors.chunk import DenseChunk, Share


def average(chunk: DenseChunk, keep: int, _share: Share) -> KV:
    """Mean keys and values of ``keep`` groups of neighbours, whose sizes differ by one token at most.

    With three positions a token, a group's is the mean of its tokens'.
    """
    tokens, device = chunk.kv.tokens, chunk.kv.keys_LHTD.device
    group_T = torch.arange(tokens, device=device) * keep // tokens
    sizes_K = torch.bincount(group_T, minlength=keep)[:, None]

    def mean(states_LHTD: torch.Tensor) -> torch.Tensor:
        layers, heads, _, dim = states_LHTD.shape
        sums_LHKD = torch.zeros(layers, heads, keep, dim, device=device)
        return (sums_LHKD.index_add_(2, group_T, states_LHTD.float()) / sizes_K).to(states_LHTD.dtype)

    def mean_positions(positions_3T: torch.Tensor) -> torch.Tensor:
        sums_3K = torch.zeros(3, keep, device=device).index_add_(1, group_T, positions_3T.float())
        return (sums_3K / sizes_K[:, 0])[:, None, None]

    return chunk.kept(KV(mean(chunk.kv.keys_LHTD), mean(chunk.kv.values_LHTD)), mean_positions)
