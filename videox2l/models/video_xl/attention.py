"""Attention of a window's queries over the memory in front of it and, causally, over the window itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.nn.attention.bias import CausalBias, causal_lower_right

WindowMask = torch.Tensor | CausalBias | None


def window_mask(window: int, memory: int, device: torch.device) -> WindowMask:
    """The mask of ``window`` queries over ``memory + window`` keys, aligned to the lower right corner.

    Without memory plain ``is_causal`` does it (``None``). On CUDA the alignment is SDPA's own causal bias, which its
    flash kernel evaluates without a mask in memory; that branch needs a GPU to run. CPU kernels know no such alignment,
    so there one boolean [window, memory + window] tensor is made for a chunk and shared by all layers and heads.
    """
    if memory == 0:
        return None
    if device.type == "cuda":
        return causal_lower_right(window, memory + window)
    return torch.ones(window, memory + window, dtype=torch.bool, device=device).tril(memory)


def attend(
    queries_BQTD: torch.Tensor, keys_BHTD: torch.Tensor, values_BHTD: torch.Tensor, mask: WindowMask, scale: float
) -> torch.Tensor:
    """Grouped-query attention; returns [B, T, Q·D]. Q must be a multiple of H."""
    grouped = queries_BQTD.shape[1] != keys_BHTD.shape[1]
    out_BQTD = F.scaled_dot_product_attention(
        queries_BQTD, keys_BHTD, values_BHTD, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )
    return out_BQTD.transpose(1, 2).flatten(2)
