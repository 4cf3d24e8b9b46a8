"""Attention that later queries will pay, were they distributed as the chunk's own (arXiv 2510.00636)."""

from __future__ import annotations

import torch

from videox2l.models.plain.compressors.chunk import DenseChunk, grouped


def expected_attention(chunk: DenseChunk) -> torch.Tensor:
    """Expected softmax weight times the value's length, ``[L, H, T]``.

    Queries are taken for Gaussian, so E[exp(q·k)] = exp(μ·k + kᵀΣk / 2) with k scaled by 1 / √D. Their mean and
    covariance are those before RoPE; the published method also averages over future positions, which this leaves out.
    """
    kv = chunk.kv
    keys_LHTD = kv.keys_LHTD.float() * kv.keys_LHTD.shape[-1] ** -0.5
    queries_LHXD = grouped(chunk.queries_LQTD, keys_LHTD.shape[1]).flatten(2, 3)
    mean_LH1D = queries_LHXD.mean(2, keepdim=True)
    # D × D numbers a head; products of all queries and keys would be more.
    centred_LHXD = queries_LHXD - mean_LH1D
    covariance_LHDD = centred_LHXD.transpose(-1, -2) @ centred_LHXD / centred_LHXD.shape[2]
    spread_LHT = (keys_LHTD @ covariance_LHDD * keys_LHTD).sum(-1)
    expected_LHT = ((keys_LHTD * mean_LH1D).sum(-1) + spread_LHT / 2).softmax(-1)
    return expected_LHT * kv.values_LHTD.float().norm(dim=-1)
