"""Means of neighbouring tokens, as Video-XL-2 forms them (arXiv 2506.19225)."""

from __future__ import annotations

import torch

from videox2l.models.plain.compressors.chunk import DenseChunk, Kept, Share


def average(chunk: DenseChunk, keep: int, _share: Share) -> Kept:
    """Mean keys and values of ``keep`` groups of neighbours, whose sizes differ by one token at most.

    With three positions a token, a group's is the mean of its tokens'.
    """
    tokens, device = chunk.kv.tokens, chunk.kv.keys_LHTD.device
    group_T = torch.arange(tokens, device=device) * keep // tokens
    sizes_K = torch.bincount(group_T, minlength=keep)

    def mean(states_XTD: torch.Tensor) -> torch.Tensor:
        sums_XKD = torch.zeros(*states_XTD.shape[:-2], keep, states_XTD.shape[-1], device=device)
        return sums_XKD.index_add_(-2, group_T, states_XTD.float()) / sizes_K[:, None]

    middles_K = sizes_K.cumsum(0) - 1 - sizes_K // 2
    shape = *chunk.kv.keys_LHTD.shape[:2], keep
    positions_3T = chunk.positions_3T
    return Kept(
        mean(chunk.kv.keys_LHTD).to(chunk.kv.keys_LHTD.dtype),
        mean(chunk.kv.values_LHTD).to(chunk.kv.values_LHTD.dtype),
        middles_K.expand(shape),
        None if positions_3T is None else mean(positions_3T[..., None])[:, None, None, :, 0].expand(3, *shape),
    )
