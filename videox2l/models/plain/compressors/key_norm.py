"""Short keys are those that attention goes to (arXiv 2406.11430)."""

from __future__ import annotations

import torch

from videox2l.models.plain.compressors.chunk import DenseChunk


def key_norm(chunk: DenseChunk) -> torch.Tensor:
    """The negative length of each key, ``[L, H, T]``. RoPE does not change it."""
    return -chunk.kv.keys_LHTD.float().norm(dim=-1)
