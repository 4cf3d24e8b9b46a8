"""Visual Summarization Tokens (VSTs; "beacon" in Video-XL's weights): where they stand and what they add to Qwen2.

After every ``ratio`` raw visual tokens of a chunk one VST is interleaved. It reads them through its own q/k/v
projections, and its keys and values are all that is kept of them (Video-XL, arXiv 2409.14485).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn
from transformers import Qwen2Config

from videox2l.config import CompressionConfig, Remainder
from videox2l.kv import Level

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class VSTLayout:
    """Row numbers of a chunk's raw tokens and VSTs in their interleaved sequence of ``length`` rows."""

    raw_rows: torch.Tensor
    vst_rows: torch.Tensor

    @property
    def length(self) -> int:
        return len(self.raw_rows) + len(self.vst_rows)


def vst_count(raw_tokens: int, ratio: int, remainder: Remainder) -> int:
    """VSTs of a chunk: one for every ``ratio`` raw tokens.

    Tokens after the last full group close with one more (``remainder="close"``) or have no summary of their own
    (``"floor"``, the reference's rule, which may leave a short chunk without any VST).
    """
    return raw_tokens // ratio if remainder == "floor" else -(-raw_tokens // ratio)


@lru_cache(maxsize=256)  # a video has at most a handful of distinct (tokens, ratio) pairs
@torch.inference_mode(False)  # kept for whoever asks next, who may be training
def vst_layout(raw_tokens: int, ratio: int, remainder: Remainder, device: torch.device = _CPU) -> VSTLayout:
    """Place :func:`vst_count` VSTs at rows r, 2r+1, 3r+2, … of the interleaved sequence of a chunk."""
    count = vst_count(raw_tokens, ratio, remainder)
    groups = torch.arange(1, count + 1)
    vst_rows = torch.clamp(groups * ratio, max=raw_tokens) + groups - 1
    is_raw = torch.ones(raw_tokens + count, dtype=torch.bool)
    is_raw[vst_rows] = False
    return VSTLayout(is_raw.nonzero().squeeze(1).to(device), vst_rows.to(device))


@dataclass(frozen=True)
class PassPlan:
    """What one level's pass over a video of equally long chunks will be: known from its settings alone.

    ``edge_vsts``: VSTs of the first and the last chunk, ``inner_vsts`` of every other.
    """

    chunks: int
    raw_tokens: int
    prompt_tokens: int
    edge_vsts: int
    inner_vsts: int

    @property
    def kept_tokens(self) -> int:
        """VSTs of all chunks."""
        return min(self.chunks, 2) * self.edge_vsts + max(self.chunks - 2, 0) * self.inner_vsts

    @property
    def most_vsts(self) -> int:
        """Of any one chunk."""
        return max(self.edge_vsts, self.inner_vsts) if self.chunks > 2 else self.edge_vsts

    @property
    def capacity(self) -> int:
        """The most tokens that are in the memory or behind it at any time: while the last chunk runs."""
        return self.prompt_tokens + self.kept_tokens + self.raw_tokens

    def windows(self) -> Iterator[tuple[int, int]]:
        """(tokens kept before, rows) of each chunk, the prompt counted as kept."""
        memory = self.prompt_tokens
        for index in range(self.chunks):
            vsts = self.edge_vsts if index in (0, self.chunks - 1) else self.inner_vsts
            yield memory, self.raw_tokens + vsts
            memory += vsts


def plan_pass(
    level: Level, compression: CompressionConfig, *, chunks: int, raw_tokens: int, prompt_tokens: int
) -> PassPlan:
    """Plan ``level``'s pass over ``chunks`` (at least one) of ``raw_tokens`` each."""
    edge, inner = (
        vst_count(raw_tokens, compression.ratio(level, edge=is_edge), compression.remainder)
        for is_edge in (True, False)
    )
    return PassPlan(chunks, raw_tokens, prompt_tokens, edge, inner)


class VSTProjection(nn.Module):
    """One layer's q/k/v projections for VST rows; same shapes as Qwen2's own."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.q_proj = nn.Linear(config.hidden_size, config.num_attention_heads * head_dim)
        self.k_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * head_dim)
        self.v_proj = nn.Linear(config.hidden_size, config.num_key_value_heads * head_dim)


class VSTs(nn.Module):
    """All that Video-XL adds to Qwen2: one embedding shared by all VSTs, and q/k/v projections per layer.

    ``kv_heads``: KV heads of these projections and of the language model beside them; all, or one rank's share.
    """

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.kv_heads = config.num_key_value_heads
        self.embedding = nn.Embedding(1, config.hidden_size)
        self.layers = nn.ModuleList(VSTProjection(config) for _ in range(config.num_hidden_layers))

    def layer(self, index: int) -> VSTProjection:
        """The projections of one layer."""
        projection = self.layers[index]
        assert isinstance(projection, VSTProjection)
        return projection
