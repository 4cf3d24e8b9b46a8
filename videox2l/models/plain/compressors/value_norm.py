"""Large values that were not there a frame ago: the idea of InfiniPot-V (arXiv 2506.15745)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from videox2l.models.plain.compressors.chunk import DenseChunk, standardised


def value_norm(chunk: DenseChunk) -> torch.Tensor:
    """The value's length less the key's likeness to that at the same place one frame before, each standardised.

    ``[L, H, T]``. Likeness is the cosine of keys before RoPE; the first frame has no likeness to any.
    """
    size, per_frame = chunk.kv.values_LHTD.float().norm(dim=-1), chunk.tokens_per_frame
    keys_LHTD = chunk.kv.keys_LHTD.float()
    likeness_LHT = torch.zeros_like(size)
    likeness_LHT[..., per_frame:] = F.cosine_similarity(
        keys_LHTD[:, :, per_frame:], keys_LHTD[:, :, :-per_frame], dim=-1
    )
    return standardised(size) - standardised(likeness_LHT)
