"""What a prefill on a Video-XL holds in a device's memory, by its configuration alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import CLIPVisionConfig, Qwen2Config

from videox2l.config import CompressionConfig
from videox2l.kv import LEVELS
from videox2l.models.memory import Workload
from videox2l.models.video_xl.checkpoint import load_config, weight_files
from videox2l.models.video_xl.configuration import VideoXLConfig
from videox2l.models.video_xl.network import VISION_BATCH_FRAMES, VideoXLNetwork
from videox2l.models.video_xl.vst import PassPlan, plan_pass

# Video-XL's chat template in front of a video, in tokens of Qwen2's tokenizer.
PROMPT_TOKENS = 14


@dataclass(frozen=True, kw_only=True)
class VideoXLWorkload(Workload):
    """A prefill to be, on a network of this configuration."""

    config: VideoXLConfig

    @property
    def raw_tokens(self) -> int:
        """Visual tokens of a chunk."""
        return self.compression.frames_per_chunk * self.config.tokens_per_frame

    @property
    def rank_counts(self) -> Sequence[int]:
        heads = self.config.text.num_key_value_heads
        return [ranks for ranks in range(1, heads + 1) if heads % ranks == 0]

    def plans(self) -> list[PassPlan]:
        """The passes over one video, level by level."""
        sizes = {"chunks": self.chunks, "raw_tokens": self.raw_tokens, "prompt_tokens": PROMPT_TOKENS}
        return [plan_pass(level, self.compression, **sizes) for level in LEVELS]

    def weight_bytes(self) -> int:
        """Of rank 0, which holds the vision tower, too."""
        shared_out = _cut_weights(self.config.text)
        whole = count_weights(self.config) - shared_out
        return (whole + -(-shared_out // self.ranks)) * self.dtype.itemsize

    def prefill_bytes(self, *, mask: bool) -> tuple[int, int]:
        text, size = self.config.text, self.dtype.itemsize
        plans = self.plans()
        kv_heads = -(-text.num_key_value_heads // self.ranks)
        token_bytes = 2 * text.num_hidden_layers * kv_heads * _head_dim(text) * size
        # Of the largest pass. In a single pass the low level's VSTs are rows of the high one's.
        single = self.compression.prefill == "single-pass"
        vsts = (sum if single else max)(plan.most_vsts for plan in plans)
        rows, capacity = self.raw_tokens + vsts, max(plan.capacity for plan in plans)
        # Kept KVs exist twice while layers are stacked, and the chunk's before are still on their way to the host.
        exported = 3 * sum(plan.most_vsts for plan in plans) * token_bytes
        # A boolean mask, and the same in the dtype of the scores, which SDPA makes of it.
        masks = rows * capacity * (1 + size) if mask else 0
        if single and not mask:
            # Nor does a GPU do without one for these VSTs, and it repeats a layer's KV heads for all query heads.
            repeated = 2 * capacity * -(-text.num_attention_heads // self.ranks) * _head_dim(text) * size
            masks = plans[0].most_vsts * capacity * (1 + size) + repeated
        language = rows * _row_elements(text, self.ranks) * size + masks
        vision = 0 if self.config.vision is None else self._vision_bytes(self.config.vision)
        memories = self.videos * sum(plan.capacity for plan in plans) * token_bytes
        return memories, max(self.videos * language, vision) + self.videos * exported

    def _vision_bytes(self, vision: CLIPVisionConfig) -> int:
        """The vision tower on one batch of frames: all layers' states are kept, as transformers hands out all."""
        frames = min(VISION_BATCH_FRAMES, self.compression.frames_per_chunk)
        patches = (vision.image_size // vision.patch_size) ** 2 + 1
        states = (vision.num_hidden_layers + 5) * vision.hidden_size + 2 * vision.intermediate_size
        projected = 3 * self.config.text.hidden_size
        pixels = 3 * vision.image_size**2 * (3 * 4 + self.dtype.itemsize)  # three steps in float32
        return frames * (patches * (states + projected) * self.dtype.itemsize + pixels)


def video_xl_workload(folder: Path, compression: CompressionConfig, dtype: torch.dtype, chunks: int) -> VideoXLWorkload:
    """A prefill on the checkpoint in ``folder``, of which no weights are read."""
    config = load_config(folder, weight_files(folder))
    return VideoXLWorkload(config=config, compression=compression, dtype=dtype, chunks=chunks)


def count_weights(config: VideoXLConfig) -> int:
    """Parameters of a network of this configuration, tied ones once."""
    with torch.device("meta"):
        network = VideoXLNetwork(config)
    network.language_model.tie_weights()
    return sum(parameter.numel() for parameter in network.parameters())


def _cut_weights(text: Qwen2Config) -> int:
    """Of them, how many tensor parallelism shares out: linear layers, those of the VSTs among them."""
    hidden = text.hidden_size
    queries = text.num_attention_heads * _head_dim(text)
    inputs = (queries + 2 * text.num_key_value_heads * _head_dim(text)) * (hidden + 1)  # with biases
    return text.num_hidden_layers * (2 * inputs + queries * hidden + 3 * text.intermediate_size * hidden)


def _head_dim(text: Qwen2Config) -> int:
    return getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads


def _row_elements(text: Qwen2Config, ranks: int) -> int:
    """Numbers that a row of a window occupies at the busiest point of a layer, on one of ``ranks``.

    In the MLP: three of its inner width, and the residual, its norm (in float32) and the chunk's own tokens beside it.
    In attention: queries, keys and values, before and after they are put in order and rotated.
    """
    hidden = text.hidden_size
    heads = (text.num_attention_heads + 2 * text.num_key_value_heads) * _head_dim(text)
    return max(-(-3 * text.intermediate_size // ranks) + 6 * hidden, -(-4 * heads // ranks) + 6 * hidden)
