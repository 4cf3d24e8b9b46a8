"""Attention of stand-ins for a question that is not known yet: the idea of StreamMem (arXiv 2508.15717)."""

from __future__ import annotations

import torch

from videox2l.models.plain.compressors.chunk import DenseChunk, grouped


def proxy_attention(chunk: DenseChunk) -> torch.Tensor:
    """Attention weights from the chat template's tokens in front of the video, averaged over them; ``[L, H, T]``.

    On queries and keys before RoPE: what is compared is content, not place.
    """
    keys_LHTD = chunk.kv.keys_LHTD.float()
    queries_LHGPD = grouped(chunk.proxy_LQPD, keys_LHTD.shape[1])
    logits_LHGPT = queries_LHGPD @ keys_LHTD[:, :, None].transpose(-1, -2) * keys_LHTD.shape[-1] ** -0.5
    return logits_LHGPT.softmax(-1).mean((2, 3))
