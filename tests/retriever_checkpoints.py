"""Small random CLIP and SigLIP checkpoints: real configuration and model classes and files, no download."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from tests.checkpoints import byte_tokenizer

KINDS = ("clip", "siglip")

_TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
_SIDE = 24


def write_retriever(folder: Path, kind: str, *, seed: int = 0) -> Path:
    """Of 24 × 24 pixels and vectors of 16 (CLIP) or 32 (SigLIP) numbers."""
    tokenizer = byte_tokenizer()
    tokenizer.model_max_length = 32
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    text = {
        **_TOWER,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 32,
        "eos_token_id": end,
        "bos_token_id": end,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {**_TOWER, "image_size": _SIDE, "patch_size": 8}
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    if kind == "clip":
        network = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
        processor = CLIPImageProcessorPil(size={"shortest_edge": _SIDE}, crop_size={"height": _SIDE, "width": _SIDE})
    else:
        network = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
        processor = SiglipImageProcessorPil(size={"height": _SIDE, "width": _SIDE})
    torch.random.set_rng_state(state)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
