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
    Qwen2Config,
    Qwen3Config,
    SiglipVisionConfig,
)
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from tests.checkpoints import byte_tokenizer
from tests.interleaved_checkpoints import internvl, smolvlm

FAMILIES = ("llava_onevision", "llava_next_video", "internvl", "internvl_qwen3", "smolvlm")

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


def write_plain_checkpoint(folder: Path, family: str = "llava_onevision", *, seed: int = 0) -> Path:
    """4 visual tokens a frame from 32 × 32 pixels, two layers of Qwen2 (SmolVLM: Llama)."""
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>", "<video>"]})
    tokenizer.chat_template = _TEMPLATE
    text = Qwen2Config(**_TEXT, vocab_size=len(tokenizer))
    tokens = {
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "video_token_index": tokenizer.convert_tokens_to_ids("<video>"),
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<video>"),
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
