"""Visual Summarization Tokens (VSTs; "beacon" in Video-XL's weights): where they stand and what they add to Qwen2.

After every ``ratio`` raw visual tokens of a chunk one VST is interleaved. It reads them through its own q/k/v
projections, and its keys and values are all that is kept of them (Video-XL, arXiv 2409.14485).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn
from transformers import Qwen2Config

from videox2l.config import Remainder


@dataclass(frozen=True)
class VSTLayout:
    """Row numbers of a chunk's raw tokens and VSTs in their interleaved sequence of ``length`` rows."""

    raw_rows: torch.Tensor
    vst_rows: torch.Tensor

    @property
    def length(self) -> int:
        return len(self.raw_rows) + len(self.vst_rows)


@lru_cache(maxsize=256)  # a video has at most a handful of distinct (tokens, ratio) pairs
def vst_layout(raw_tokens: int, ratio: int, remainder: Remainder) -> VSTLayout:
    """Place one VST at rows r, 2r+1, 3r+2, … of the interleaved sequence of a chunk of ``raw_tokens``.

    Tokens after the last full group of ``ratio`` close with one more VST (``remainder="close"``) or have no summary of
    their own (``"floor"``, the reference's rule, which may leave a short chunk without any VST).
    """
    count = raw_tokens // ratio if remainder == "floor" else -(-raw_tokens // ratio)
    groups = torch.arange(1, count + 1)
    vst_rows = torch.clamp(groups * ratio, max=raw_tokens) + groups - 1
    is_raw = torch.ones(raw_tokens + count, dtype=torch.bool)
    is_raw[vst_rows] = False
    return VSTLayout(is_raw.nonzero().squeeze(1), vst_rows)


class VSTProjection(nn.Module):
    """One layer's q/k/v projections for VST rows; same shapes as Qwen2's own."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.q_proj = nn.Linear(config.hidden_size, config.num_attention_heads * head_dim)
        self.k_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * head_dim)
        self.v_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * head_dim)


class VSTs(nn.Module):
    """All that Video-XL adds to Qwen2: one embedding shared by all VSTs, and q/k/v projections per layer."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1, config.hidden_size)
        self.layers = nn.ModuleList(VSTProjection(config) for _ in range(config.num_hidden_layers))

    def layer(self, index: int) -> VSTProjection:
        """The projections of one layer."""
        projection = self.layers[index]
        assert isinstance(projection, VSTProjection)
        return projection
