"""Read a Video-XL ``config.json`` (model_type ``llava_qwen``) into transformers' own configuration classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import CLIPVisionConfig, Qwen2Config

from videox2l.config import CompressionConfig
from videox2l.errors import CheckpointError
from videox2l.video.frames import FrameFormat

# OpenAI CLIP's pixel statistics, RGB in 0 … 1 (arXiv 2103.00020); every Video-XL checkpoint uses its vision tower.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_SUPPORTED = {  # what this backend computes; another value would be another model
    "model_type": ("llava_qwen",),
    "beacon_pos": ("interleave",),
    "beacon_attn": ("full-coverage",),
    "beacon_attend_prev": (True,),
    "beacon_sink_size": (0,),
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_vision_select_feature": ("patch",),
    "mm_spatial_pool_mode": ("average",),
}
_TEXT_KEYS = (
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim "
    "hidden_act max_position_embeddings rms_norm_eps tie_word_embeddings rope_theta rope_scaling rope_parameters "
    "bos_token_id eos_token_id pad_token_id"
).split()


@dataclass(frozen=True)
class VideoXLConfig:
    """Everything the backend needs to know about a checkpoint, and nothing of its authors' machine."""

    text: Qwen2Config
    vision: CLIPVisionConfig | None
    vision_layer: int = -2
    pool_stride: int = 2
    frame_fit: str = "crop"
    compression: CompressionConfig = field(default_factory=CompressionConfig)

    @property
    def tokens_per_frame(self) -> int:
        side = self._vision.image_size // self._vision.patch_size // self.pool_stride
        return side * side

    @property
    def frame_format(self) -> FrameFormat:
        size = self._vision.image_size
        return FrameFormat(size, size, "stretch" if self.frame_fit == "stretch" else "crop")

    @property
    def _vision(self) -> CLIPVisionConfig:
        if self.vision is None:
            raise CheckpointError("this checkpoint has no vision tower, so it cannot look at frames")
        return self.vision


def parse_config(raw: Mapping[str, Any], vision: CLIPVisionConfig | None) -> VideoXLConfig:
    """Build the configuration from ``config.json`` and the vision tower's (see ``checkpoint.vision_config``).

    An optional object ``videox2l`` in the file holds what the original format has no field for: ``low_ratio``,
    ``high_ratio`` and ``frame_fit``. Raises :class:`CheckpointError` for a variant this backend does not compute.
    """
    for key, allowed in _SUPPORTED.items():
        if key in raw and raw[key] not in allowed:
            raise CheckpointError(f"config.json: {key} is {raw[key]!r}; the video_xl backend supports only {allowed}")
    missing = [key for key in ("hidden_size", "num_hidden_layers", "vocab_size") if key not in raw]
    if missing:
        raise CheckpointError(f"config.json lacks {', '.join(missing)}: is this a Video-XL checkpoint?")
    extra = raw.get("videox2l", {})
    text = Qwen2Config(**{key: raw[key] for key in _TEXT_KEYS if raw.get(key) is not None})
    pool_stride = raw.get("mm_spatial_pool_stride", 2)
    defaults = CompressionConfig()
    frames_per_chunk = defaults.frames_per_chunk
    if vision is not None and "beacon_window" in raw:
        side = vision.image_size // vision.patch_size // pool_stride
        frames_per_chunk = max(1, raw["beacon_window"] // (side * side))
    return VideoXLConfig(
        text=text,
        vision=vision,
        vision_layer=raw.get("mm_vision_select_layer", -2),
        pool_stride=pool_stride,
        frame_fit=extra.get("frame_fit", "crop"),
        compression=CompressionConfig(
            low_ratio=extra.get("low_ratio", defaults.low_ratio),
            high_ratio=extra.get("high_ratio", defaults.high_ratio),
            frames_per_chunk=frames_per_chunk,
        ),
    )
