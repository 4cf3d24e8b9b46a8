"""Means of neighbouring tokens, as Video-XL-2 forms them (arXiv 2506.19225)."""

from __future__ import annotations

import torch

from videox2l.models.plain.compressors.chunk import DenseChunk, Kept, Share


def average(chunk: DenseChunk, keep: int, _share: Share) -> Kept:
    """Mean keys and values of ``keep`` groups of neighbours, whose sizes differ by one token at most."""
    tokens, device = chunk.kv.tokens, chunk.kv.keys_LHTD.device
    group_T = torch.arange(tokens, device=device) * keep // tokens
    sizes_K = torch.bincount(group_T, minlength=keep)

    def mean(states_LHTD: torch.Tensor) -> torch.Tensor:
        layers, heads, _, dim = states_LHTD.shape
        sums_LHKD = torch.zeros(layers, heads, keep, dim, device=device)
        return (sums_LHKD.index_add_(2, group_T, states_LHTD.float()) / sizes_K[:, None]).to(states_LHTD.dtype)

    middles_K = sizes_K.cumsum(0) - 1 - sizes_K // 2
    places_LHK = middles_K.expand(*chunk.kv.keys_LHTD.shape[:2], keep)
    return Kept(mean(chunk.kv.keys_LHTD), mean(chunk.kv.values_LHTD), places_LHK)
