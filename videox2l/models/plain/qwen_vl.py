"""The Qwen-VL family: two frames a step in time, and positions of three numbers: time, row and column (M-RoPE).

Qwen2-VL (arXiv 2409.12191) counts steps in time, Qwen2.5-VL (arXiv 2502.13923) seconds. A token's position says when
and where in the picture it was, whatever is kept around it. Text goes on behind the largest number so far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from videox2l.models.plain.stretch import Place, Stretch

if TYPE_CHECKING:
    from videox2l.models.plain.model import PlainModel

FRAMES_PER_STEP = 2
"""``temporal_patch_size`` of all published models."""

ASSUMED_FPS = 2.0
"""Where no times are given: the rate at which these models sample a video by default."""

_EARLY_S = 0.05
"""Frames of a real video lie on its own grid of times, so a sampled one may be shown this much before it was due
(the distance of two frames at 20 a second); it counts as due."""


def frames(network: Any, pixels_FCHW: torch.Tensor) -> torch.Tensor:
    """Visual tokens of pairs of frames, ``[ceil(F / 2) * P, N]``; a single last frame makes a pair with itself."""
    vision = network.config.vision_config
    patch, merge = vision.patch_size, vision.spatial_merge_size
    if len(pixels_FCHW) % FRAMES_PER_STEP:
        pixels_FCHW = torch.cat([pixels_FCHW, pixels_FCHW[-1:]])
    count, channels, height, width = pixels_FCHW.shape
    steps, rows, columns = count // FRAMES_PER_STEP, height // patch, width // patch
    # Patches in the order in which they are merged: 2 × 2 neighbours follow one another.
    split = pixels_FCHW.reshape(
        steps, FRAMES_PER_STEP, channels, rows // merge, merge, patch, columns // merge, merge, patch
    )
    patches_PX = split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(steps * rows * columns, -1)
    grid_V3 = torch.tensor([[steps, rows, columns]], device=pixels_FCHW.device)
    found = network.model.get_video_features(patches_PX, grid_V3)
    rows_TN: torch.Tensor = torch.cat(list(found.pooler_output))
    return rows_TN


def shell(text_config: Any) -> PreTrainedModel:
    """Qwen2's causal model: transformers has none for the language models of this family alone."""
    small = Qwen2Config(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=8)
    del text_config  # all that is used of it is its language model and head
    return Qwen2ForCausalLM(small)


def arrange_by_step(model: PlainModel, visual_TN: torch.Tensor, place: Place) -> Stretch:
    """Qwen2-VL: each pair of frames is one step later."""
    first = place.first_frame // FRAMES_PER_STEP
    return _arrange(model, visual_TN, place, range(first, first + _steps(model, visual_TN)))


def arrange_by_time(model: PlainModel, visual_TN: torch.Tensor, place: Place) -> Stretch:
    """Qwen2.5-VL: each pair of frames is where its first frame's time is, at a fixed number of positions a second."""
    per_second = model.network.config.vision_config.tokens_per_second
    times_s = step_times(place, _steps(model, visual_TN))
    return _arrange(model, visual_TN, place, [math.floor(per_second * (time_s + _EARLY_S)) for time_s in times_s])


def step_times(place: Place, steps: int) -> list[float]:
    """When the first frame of each step is shown, in seconds."""
    if place.times_s:
        return list(place.times_s[::FRAMES_PER_STEP])
    return [(place.first_frame + FRAMES_PER_STEP * step) / ASSUMED_FPS for step in range(steps)]


def grid_positions(times: Sequence[int], rows: int, columns: int) -> torch.Tensor:
    """``[3, steps * rows * columns]``: time, row and column, in the order of the tokens."""
    axes = torch.tensor(times), torch.arange(rows), torch.arange(columns)
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)


def grid(model: PlainModel) -> tuple[int, int]:
    """Rows and columns of visual tokens."""
    vision, wanted = model.network.config.vision_config, model.frame_format
    side = vision.patch_size * vision.spatial_merge_size
    return wanted.height // side, wanted.width // side


def _steps(model: PlainModel, visual_TN: torch.Tensor) -> int:
    return len(visual_TN) // math.prod(grid(model))


def _arrange(model: PlainModel, visual_TN: torch.Tensor, place: Place, times: Sequence[int]) -> Stretch:
    positions_3T = grid_positions(times, *grid(model)).to(visual_TN.device) + place.prompt_tokens
    tokens = len(visual_TN)
    # Behind the largest of all numbers, as these models were trained. transformers 5.23 begins behind the largest row
    # or column, whatever the time, so that a question stands before the end of all but the shortest videos.
    next_position = place.prompt_tokens + max(times[-1] + 1, *grid(model))
    return Stretch(visual_TN, slice(0, tokens), slice(tokens, tokens), positions_3T, next_position)
