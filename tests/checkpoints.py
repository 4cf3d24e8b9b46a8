"""Small random checkpoints in the layout of the published Video-XL weights, vision tower included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import CLIPVisionConfig, PreTrainedTokenizerFast

from videox2l.models.video_xl.checkpoint import checkpoint_name
from videox2l.models.video_xl.configuration import parse_config
from videox2l.models.video_xl.network import VideoXLNetwork

# CLIP configuration in the form of transformers; the checkpoint itself does not hold it, as the published one does not.
VISION = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 1,
    "image_size": 32,
    "patch_size": 8,
    "hidden_act": "quick_gelu",
}


def write_random_checkpoint(
    folder: Path, *, seed: int = 0, hidden: int = 32, layers: int = 2, context: int = 4096, **overrides: Any
) -> Path:
    """Write a checkpoint with random weights into ``folder`` and return it.

    4 visual tokens a frame from 32 × 32 pixels, 10 frames a chunk; two shards with an index. ``overrides`` change
    fields of ``config.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_tokenizer()
    raw = {
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": "llava_qwen",
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": context,
        "rope_theta": 1e6,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "beacon_window": 40,
        "beacon_stride": 40,
        "beacon_attn": "full-coverage",
        "beacon_attend_prev": True,
        "beacon_pos": "interleave",
        "beacon_param": ["q", "k", "v"],
        "beacon_sink_size": 0,
        "beacon_ratio": [2, 4, 8],
        "mm_vision_tower": "a/path/of/the/authors/clip-vit-large-patch14-336",
        "mm_projector_type": "mlp2x_gelu",
        "mm_hidden_size": VISION["hidden_size"],
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_spatial_pool_stride": 2,
        "mm_spatial_pool_mode": "average",
        "mm_patch_merge_type": "unires",
        **overrides,
    }
    (folder / "config.json").write_text(json.dumps(raw, indent=1))
    torch_state = torch.get_rng_state()
    torch.manual_seed(seed)
    network = VideoXLNetwork(parse_config(raw, CLIPVisionConfig(**VISION)))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # large enough that every part shows in the outputs
    torch.set_rng_state(torch_state)
    tensors = {checkpoint_name(name): tensor for name, tensor in network.state_dict().items()}
    if raw["tie_word_embeddings"]:
        del tensors["lm_head.weight"]
    write_shards(tensors, folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_shards(tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Two safetensors shards and their index, as large checkpoints have."""
    names = sorted(tensors)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: tensors[name].contiguous() for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def byte_tokenizer(named: dict[str, str] | None = None) -> PreTrainedTokenizerFast:
    """Qwen2's kind of tokenizer without merges: one token a byte, and its three control tokens.

    ``named``: further control tokens by the attribute that holds them.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({character: index for index, character in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        **({"extra_special_tokens": named} if named else {}),
    )
