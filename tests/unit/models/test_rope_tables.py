"""Tables of positions from a model, whatever was asked of it before."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from videox2l.models.video_xl.model import VideoXL
from videox2l.models.video_xl.presets import random_network


@pytest.mark.parametrize(
    "scaling",
    [{"rope_type": "default"}, {"rope_type": "linear", "factor": 2.0}, {"rope_type": "dynamic", "factor": 2.0}],
)
def test_they_are_the_decoders_own(random_model: VideoXL, scaling: dict[str, Any]) -> None:
    """Dynamic scaling stretches all angles with the length, so one table does not serve them all."""
    config = copy.deepcopy(random_model.network.config)
    config.text.rope_parameters = {"rope_theta": 1e6} | scaling
    config.text.max_position_embeddings = 64
    network = random_network(config, device=torch.device("cpu"), dtype=torch.float32)
    model = VideoXL(network, random_model.tokenizer, random_model.identity, "scaled")
    for count in (300, 40, 100, 200):
        like, positions_BT = torch.empty(()), torch.arange(count)[None]
        expected = network.language_model.model.rotary_emb(like, positions_BT)
        found = model.rope_tables(0, count, torch.float32)
        assert all(torch.equal(one, other[0]) for one, other in zip(found, expected, strict=True))
