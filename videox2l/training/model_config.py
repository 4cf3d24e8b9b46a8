"""The tiny model's architecture, as its ``config.json`` says it."""

from __future__ import annotations

from typing import Any

from transformers import CLIPVisionConfig, PreTrainedTokenizerFast

from videox2l.models.video_xl.configuration import VideoXLConfig, parse_config
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.training.frame_bank import FRAME_SIZE
from videox2l.video.synthetic import SECONDS_PER_SCENE

PATCH_SIZE = 16
POOL_STRIDE = 2
TOKENS_PER_FRAME = (FRAME_SIZE // PATCH_SIZE // POOL_STRIDE) ** 2
TOKENS_PER_CHUNK = TOKENS_PER_FRAME * SECONDS_PER_SCENE  # one scene is one chunk at 1 frame/s
LOW_RATIO, HIGH_RATIO = 2, 16
TRAINED_RATIOS = (2, 4, 8, 16, 32)

_VISION = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "patch_size": PATCH_SIZE,
    "image_size": FRAME_SIZE,
    "hidden_act": "quick_gelu",
}


def raw_config(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """``config.json`` in the layout of Video-XL's checkpoints."""
    return {
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": "llava_qwen",
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "tie_word_embeddings": True,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "beacon_window": TOKENS_PER_CHUNK,
        "beacon_stride": TOKENS_PER_CHUNK,
        "beacon_ratio": list(TRAINED_RATIOS),
        "beacon_attn": "full-coverage",
        "beacon_attend_prev": True,
        "beacon_pos": "interleave",
        "beacon_param": ["q", "k", "v"],
        "beacon_sink_size": 0,
        "mm_projector_type": "mlp2x_gelu",
        "mm_hidden_size": _VISION["hidden_size"],
        "mm_vision_select_layer": -1,
        "mm_vision_select_feature": "patch",
        "mm_spatial_pool_stride": POOL_STRIDE,
        "mm_spatial_pool_mode": "average",
        "vision_config": _VISION,
        "videox2l": {"low_ratio": LOW_RATIO, "high_ratio": HIGH_RATIO, "frame_fit": "stretch"},
    }


def model_config(raw: dict[str, Any]) -> VideoXLConfig:
    """The parsed form of :func:`raw_config`."""
    return parse_config(raw, CLIPVisionConfig(**raw["vision_config"]))


def new_network(raw: dict[str, Any]) -> VideoXLNetwork:
    """A network of this architecture with random weights."""
    return VideoXLNetwork(model_config(raw))
