"""Small random checkpoints of stock video models: real configuration and model classes, no download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3Config,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipVisionConfig,
)
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from tests.checkpoints import byte_tokenizer
from tests.interleaved_checkpoints import internvl, smolvlm

FAMILIES = (
    "llava_onevision",
    "llava_next_video",
    "internvl",
    "internvl_qwen3",
    "smolvlm",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
)
SETTINGS = dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), "?size=32x32")
"""Behind a family's name, so that all take frames of 32 × 32 pixels."""

# In the manner of LLaVA-OneVision's, which puts a space behind a role but a line break where it lets the model answer.
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} "
    "{% for part in message['content'] %}{% if part['type'] == 'video' %}<video>\n{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
_SIDE = {"height": 32, "width": 32}

_QWEN_CONTROLS = ["<|vision_start|>", "<|vision_end|>"]

# In the manner of Qwen2-VL's.
_QWEN_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'video' %}<|vision_start|><video><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_QWEN_PIXELS = {
    "patch_size": 4,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "size": {"shortest_edge": 256, "longest_edge": 65536},
    "image_mean": OPENAI_CLIP_MEAN,
    "image_std": OPENAI_CLIP_STD,
}

_QWEN_VISION = {"depth": 2, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}
_SECTIONS = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}


def _qwen2_vl(text: dict[str, Any], tokens: dict[str, int]) -> Any:
    vision = {**_QWEN_VISION, "embed_dim": 32, "mlp_ratio": 2, "hidden_size": 32}
    return Qwen2VLForConditionalGeneration(
        Qwen2VLConfig(text_config={**text, "rope_parameters": dict(_SECTIONS)}, vision_config=vision, **tokens)
    )


def _qwen2_5_vl(text: dict[str, Any], tokens: dict[str, int]) -> Any:
    vision = {
        **_QWEN_VISION,
        "hidden_size": 32,
        "intermediate_size": 48,
        "out_hidden_size": 32,
        "tokens_per_second": 2,
        "window_size": 16,  # four windows a frame of 32 × 32 pixels
        "fullatt_block_indexes": [1],
    }
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config={**text, "rope_parameters": dict(_SECTIONS)}, vision_config=vision, **tokens)
    )


def _qwen3_vl(text: dict[str, Any], tokens: dict[str, int]) -> Any:
    vision = {
        **_QWEN_VISION,
        "hidden_size": 32,
        "intermediate_size": 48,
        "out_hidden_size": 32,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0],
    }
    text = {**text, "head_dim": 8, "rope_parameters": dict(_SECTIONS)}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **tokens))


_QWEN = {"qwen2_vl": _qwen2_vl, "qwen2_5_vl": _qwen2_5_vl, "qwen3_vl": _qwen3_vl}


def write_plain_checkpoint(folder: Path, family: str = "llava_onevision", *, seed: int = 0) -> Path:
    """Visual tokens from 32 × 32 pixels: 4 a frame of LLaVA, 16 a pair of frames of Qwen-VL; two layers of Qwen2."""
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", "<video>", *_QWEN_CONTROLS]})
    size = {**_TEXT, "vocab_size": len(tokenizer)}
    text = Qwen2Config(**size)
    tokenizer.chat_template = _QWEN_TEMPLATE if family in _QWEN else _TEMPLATE
    tokens = {
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "video_token_index": tokenizer.convert_tokens_to_ids("<video>"),
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<video>"),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    }
    network: Any
    settings: dict[str, Any]
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    if family == "internvl":
        network, tokenizer, settings = internvl(_TEXT)
    elif family == "internvl_qwen3":  # as InternVL3.5, whose queries and keys are normalised
        network, tokenizer, settings = internvl(_TEXT | {"head_dim": 8}, Qwen3Config)
    elif family == "smolvlm":
        network, tokenizer, settings = smolvlm(_TEXT)
    elif family == "llava_onevision":
        network = LlavaOnevisionForConditionalGeneration(
            LlavaOnevisionConfig(
                text_config=text,
                vision_config=SiglipVisionConfig(**_VISION, vision_use_head=False),
                vision_feature_layer=-1,
                vision_feature_select_strategy="full",
                **tokens,
            )
        )
        settings = {"size": _SIDE, "image_mean": OPENAI_CLIP_MEAN, "image_std": OPENAI_CLIP_STD}
    elif family in _QWEN:
        network = _QWEN[family](size, {name: token for name, token in tokens.items() if name.endswith("id")})
        settings = _QWEN_PIXELS
    else:
        network = LlavaNextVideoForConditionalGeneration(
            LlavaNextVideoConfig(text_config=text, vision_config=CLIPVisionConfig(**_VISION), **tokens)
        )
        settings = {
            "size": {"shortest_edge": 32},
            "crop_size": _SIDE,
            "do_center_crop": True,
            "image_mean": OPENAI_CLIP_MEAN,
            "image_std": OPENAI_CLIP_STD,
        }
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # large enough that every part shows in the outputs
    torch.set_rng_state(state)
    network.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, do_sample=False)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "video_preprocessor_config.json").write_text(json.dumps(settings))
    return folder
