"""Keys unlike the others tell more (KeyDiff, arXiv 2504.15364)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from videox2l.models.plain.compressors.chunk import DenseChunk


def key_similarity(chunk: DenseChunk) -> torch.Tensor:
    """The negative cosine of each key and the chunk's mean direction, ``[L, H, T]``; on keys before RoPE."""
    directions_LHTD = F.normalize(chunk.kv.keys_LHTD.float(), dim=-1)
    return -F.cosine_similarity(directions_LHTD, directions_LHTD.mean(2, keepdim=True), dim=-1)
