"""What a prefill of a stock model holds in a device's memory, by its configuration alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from videox2l.kv import LEVELS
from videox2l.models.memory import Workload
from videox2l.models.plain.prefill import kept_tokens
from videox2l.video.frames import FrameFormat

# Chat templates in front of a video are shorter than this.
_PROMPT_TOKENS = 64

VISION_BATCH_FRAMES = 8
"""Frames that go through the vision tower at once."""


@dataclass(frozen=True, kw_only=True)
class PlainWorkload(Workload):
    """A prefill to be. ``text`` is the language model's configuration, ``weights`` the count of all parameters.

    ``text_tokens``: of text among a chunk's frames, at most.
    """

    text: Any
    vision: Any
    weights: int
    tokens_per_frame: int
    window: int
    text_tokens: int
    frame_format: FrameFormat

    def weight_bytes(self) -> int:
        return self.weights * self.dtype.itemsize

    def prefill_bytes(self, *, mask: bool) -> tuple[int, int]:
        text, size = self.text, self.dtype.itemsize
        raw = self.compression.frames_per_chunk * self.tokens_per_frame
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        token_bytes = 2 * text.num_hidden_layers * text.num_key_value_heads * head_dim * size
        kept = {level: self._most(level, raw) + self.text_tokens for level in LEVELS}
        raw += self.text_tokens
        memory = _PROMPT_TOKENS + self.chunks * kept["low"] + self.window * raw
        # What is kept, its rotated copy, and the cache that the model itself makes of it, which grows by the chunk.
        memories = self.videos * (3 * memory + raw) * token_bytes
        queries = text.num_hidden_layers * text.num_attention_heads * head_dim * size
        # Queries, keys and values of the chunk as caught and stacked, in float32 while they are compressed.
        dense = raw * (2 * (queries + token_bytes) + 2 * token_bytes * 4 // size)
        rows = raw * (3 * text.intermediate_size + 8 * text.hidden_size) * size
        masks = raw * (memory + raw) * (1 + size) if mask else 0
        exported = 3 * sum(kept.values()) * token_bytes
        return memories, max(dense + rows + masks, self._vision_bytes()) + self.videos * exported

    def _most(self, level: Any, raw: int) -> int:
        ratios = [self.compression.ratio(level, edge=edge) for edge in (True, False)]
        return max(kept_tokens(raw, ratio, self.compression.remainder) for ratio in ratios)

    def _vision_bytes(self) -> int:
        """All layers' states are kept, as transformers hands out all."""
        vision, frames = self.vision, min(VISION_BATCH_FRAMES, self.compression.frames_per_chunk)
        sides = self.frame_format.height, self.frame_format.width
        patches = math.prod(side // vision.patch_size for side in sides) + 1
        width = getattr(vision, "embed_dim", vision.hidden_size)  # Qwen2-VL's hidden_size is the language model's
        inner = getattr(vision, "intermediate_size", None) or width * vision.mlp_ratio
        states = (vision.num_hidden_layers + 6) * width + 2 * inner
        pixels = 3 * math.prod(sides) * 16
        return frames * (patches * (states + 3 * self.text.hidden_size) * self.dtype.itemsize + pixels)
