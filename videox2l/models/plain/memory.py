"""What a prefill of a stock model holds in a device's memory, by its configuration alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from videox2l.kv import LEVELS
from videox2l.models.memory import Workload
from videox2l.models.plain.prefill import check_compression, kept_tokens
from videox2l.video.frames import FrameFormat

# Chat templates in front of a video, and what says how long it is, are shorter than this.
_PROMPT_TOKENS = 128

VISION_BATCH_FRAMES = 8
"""Frames that go through the vision tower at once."""


@dataclass(frozen=True, kw_only=True)
class PlainWorkload(Workload):
    """A prefill to be. ``text`` is the language model's configuration, ``weights`` the count of all parameters.

    ``text_per_frame``: tokens of the text around a frame, which is kept dense. ``frames_per_step``: frames that the
    model takes as one step in time.
    """

    text: Any
    vision: Any
    weights: int
    tokens_per_frame: int
    text_per_frame: int
    window: int
    frame_format: FrameFormat
    frames_per_step: int

    def __post_init__(self) -> None:
        check_compression(self.compression, self.frames_per_step)

    def weight_bytes(self) -> int:
        return self.weights * self.dtype.itemsize

    def prefill_bytes(self, *, mask: bool) -> tuple[int, int]:
        text, size = self.text, self.dtype.itemsize
        visual, between = (
            self.compression.frames_per_chunk * tokens for tokens in (self.tokens_per_frame, self.text_per_frame)
        )
        raw = visual + between
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        token_bytes = 2 * text.num_hidden_layers * text.num_key_value_heads * head_dim * size
        kept = {level: self._most(level, visual) + between for level in LEVELS}
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

    def _most(self, level: Any, visual: int) -> int:
        ratios = [self.compression.ratio(level, edge=edge) for edge in (True, False)]
        return max(kept_tokens(visual, ratio, self.compression.remainder) for ratio in ratios)

    def _vision_bytes(self) -> int:
        """All layers' states are kept, as transformers hands out all."""
        vision, frames = self.vision, min(VISION_BATCH_FRAMES, self.compression.frames_per_chunk)
        sides, patch = (self.frame_format.height, self.frame_format.width), _height(vision.patch_size)
        patches = math.prod(side // patch for side in sides) + 1
        width = getattr(vision, "embed_dim", vision.hidden_size)  # Qwen2-VL's hidden_size is the language model's
        inner = getattr(vision, "intermediate_size", None) or width * vision.mlp_ratio
        states = (vision.num_hidden_layers + 6) * width + 2 * inner
        pixels = 3 * math.prod(sides) * 16
        return frames * (patches * (states + 3 * self.text.hidden_size) * self.dtype.itemsize + pixels)


def _height(size: Any) -> int:
    """Of a size that some families write as height and width."""
    return int(size[0] if isinstance(size, list | tuple) else size)
