"""Configurations of published sizes, and networks with random weights."""

from __future__ import annotations

import pytest
import torch
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from videox2l.models.video_xl.model import VideoXL
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.models.video_xl.presets import random_network, video_xl_7b

CPU = torch.device("cpu")


def test_the_published_size() -> None:
    config = video_xl_7b()
    text = config.text
    assert config.tokens_per_frame == 144
    assert (config.compression.frames_per_chunk, config.compression.low_ratio, config.compression.high_ratio) == (
        10,
        2,
        32,
    )
    assert (text.hidden_size // text.num_attention_heads, text.num_attention_heads // text.num_key_value_heads) == (
        128,
        7,
    )
    assert (config.frame_format.width, config.frame_format.height) == (336, 336)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_random_network_computes(random_model: VideoXL, dtype: torch.dtype) -> None:
    config = random_model.network.config
    network = random_network(config, device=CPU, dtype=dtype)
    assert {parameter.dtype for parameter in network.parameters()} == {dtype}
    frame = config.frame_format
    tokens_TN = network.visual_tokens(torch.randint(256, (2, frame.height, frame.width, 3), dtype=torch.uint8))
    assert tokens_TN.shape == (2 * config.tokens_per_frame, config.text.hidden_size)
    logits = network.language_model(torch.arange(8)[None]).logits
    for found in (tokens_TN, logits):
        assert found.isfinite().all()
        assert found.std() > 0


def test_buffers_are_those_of_a_built_network(random_model: VideoXL) -> None:
    """Frequencies keep float32 whatever the weights' dtype; nothing is left as it was found in memory."""
    config = random_model.network.config
    built = dict(VideoXLNetwork(config).named_buffers())
    made = dict(random_network(config, device=CPU, dtype=torch.bfloat16).named_buffers())
    assert made.keys() == built.keys()
    assert any(isinstance(module, Qwen2RotaryEmbedding) for module in VideoXLNetwork(config).modules())
    for name, buffer in built.items():
        assert made[name].dtype == buffer.dtype
        assert torch.equal(made[name], buffer)


def test_the_seed_decides(random_model: VideoXL) -> None:
    config = random_model.network.config
    first, again, other = (random_network(config, device=CPU, dtype=torch.float32, seed=seed) for seed in (1, 1, 2))
    for one, same, different in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, different)
