"""Configurations of published sizes, and networks of any configuration with random weights: for measuring."""

from __future__ import annotations

import torch
from torch import nn
from transformers import CLIPVisionConfig

from videox2l.models.video_xl.checkpoint import rebuild_buffers
from videox2l.models.video_xl.configuration import VideoXLConfig, parse_config
from videox2l.models.video_xl.network import VideoXLNetwork

VIDEO_XL_7B = "video-xl-7b"

# Standard deviation that Qwen2 is initialised with; its normalised layers keep activations in range at any depth.
_STD = 0.02


def video_xl_7b() -> VideoXLConfig:
    """Video-XL-7B as published (arXiv 2409.14485): Qwen2-7B behind CLIP ViT-L/14 at 336 pixels, 8.4 billion weights.

    144 visual tokens a frame, 10 frames a chunk.
    """
    language_model = {
        "model_type": "llava_qwen",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
        "rope_theta": 1e6,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "beacon_window": 1440,
        "mm_spatial_pool_stride": 2,
        "mm_vision_select_layer": -2,
    }
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        patch_size=14,
        image_size=336,
        hidden_act="quick_gelu",
    )
    return parse_config(language_model, vision)


@torch.no_grad()
def random_network(config: VideoXLConfig, *, device: torch.device, dtype: torch.dtype, seed: int = 0) -> VideoXLNetwork:
    """A network with random weights that are made on ``device``; nothing of their size passes through the host."""
    with torch.device("meta"):
        network = VideoXLNetwork(config)
    network.to(dtype).to_empty(device=device)
    network.language_model.tie_weights()
    rebuild_buffers(network, device)
    generator = torch.Generator(device).manual_seed(seed)
    for parameter in network.parameters():
        parameter.normal_(std=_STD, generator=generator)
    for module in network.modules():
        if isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("RMSNorm"):
            module.get_parameter("weight").add_(1)
    return network.eval().requires_grad_(False)
