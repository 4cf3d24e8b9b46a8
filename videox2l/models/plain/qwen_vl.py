"""The Qwen-VL family: two frames a step in time, and positions of three numbers: time, row and column (M-RoPE).

Qwen2-VL (arXiv 2409.12191) counts steps in time, Qwen2.5-VL (arXiv 2502.13923) seconds, and Qwen3-VL (arXiv 2511.21631)
writes the time in front of each step as text. A token's position says when and where in the picture it was, whatever is
kept around it. Text goes on behind the largest number so far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from videox2l.errors import CheckpointError
from videox2l.models.plain.interleaved import FrameText
from videox2l.models.plain.stretch import Place
from videox2l.models.protocol import Timeline

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
    """Visual tokens of pairs of frames, ``[ceil(F / 2) * P, N]``; a single last frame makes a pair with itself.

    What Qwen3-VL adds behind its first layers follows in the same row: ``[…, N * (1 + layers)]``.
    """
    vision = network.config.vision_config
    patch, merge = vision.patch_size, vision.spatial_merge_size
    if len(pixels_FCHW) % FRAMES_PER_STEP:
        pixels_FCHW = torch.cat([pixels_FCHW, pixels_FCHW[-1:]])
    count, channels, height, width = pixels_FCHW.shape
    steps, rows, columns = count // FRAMES_PER_STEP, height // patch, width // patch
    if pixels_FCHW.is_meta:  # only their number is asked for
        return pixels_FCHW.new_empty(steps * rows * columns // merge**2, vision.hidden_size)
    # Patches in the order in which they are merged: 2 × 2 neighbours follow one another.
    split = pixels_FCHW.reshape(
        steps, FRAMES_PER_STEP, channels, rows // merge, merge, patch, columns // merge, merge, patch
    )
    patches_PX = split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(steps * rows * columns, -1)
    grid_V3 = torch.tensor([[steps, rows, columns]], device=pixels_FCHW.device)
    found = network.model.get_video_features(patches_PX, grid_V3)
    parts = [found.pooler_output, *getattr(found, "deepstack_features", ())]
    return torch.cat([torch.cat(list(part)) for part in parts], dim=-1)


def shell(text_config: Any) -> PreTrainedModel:
    """Qwen2's causal model: transformers has none for the language models of this family alone."""
    small = Qwen2Config(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=8)
    del text_config  # all that is used of it is its language model and head
    return Qwen2ForCausalLM(small)


def by_step(model: PlainModel, visual_X: torch.Tensor, place: Place) -> tuple[torch.Tensor, int]:
    """Qwen2-VL: each pair of frames is one step later."""
    first = place.first_frame // FRAMES_PER_STEP
    return _by_times(model, place, range(first, first + _steps(model, visual_X)))


def by_time(model: PlainModel, visual_X: torch.Tensor, place: Place) -> tuple[torch.Tensor, int]:
    """Qwen2.5-VL: each pair of frames is where its first frame's time is, at a fixed number of positions a second."""
    per_second = model.network.config.vision_config.tokens_per_second
    firsts = [place.first_frame + FRAMES_PER_STEP * step for step in range(_steps(model, visual_X))]
    times_s = [step_times(first, place.timeline)[0] for first in firsts]
    return _by_times(model, place, [math.floor(per_second * (time_s + _EARLY_S)) for time_s in times_s])


def in_order(model: PlainModel, visual_X: torch.Tensor, place: Place) -> tuple[torch.Tensor, int]:
    """Qwen3-VL: text and pairs of frames one behind another; a pair has one number for its time."""
    rows, columns = grid(model)
    pair_3T, text_3T = grid_positions([0], rows, columns), torch.zeros(3, 1, dtype=torch.long)
    visual, parts, row, position = visual_X.tolist(), [], 0, place.position
    while row < len(visual):
        part_3T, length = (pair_3T, max(rows, columns)) if visual[row] else (text_3T, 1)
        parts.append(part_3T + position)
        row, position = row + part_3T.shape[1], position + length
    return torch.cat(parts, dim=1), position


def step_text(tokenizer: Any) -> FrameText:
    """Qwen3-VL: the time in front of each pair of frames, the mean of both."""
    # As transformers' processor names them where the tokenizer does not.
    start: str = getattr(tokenizer, "vision_start_token", "<|vision_start|>")
    end: str = getattr(tokenizer, "vision_end_token", "<|vision_end|>")
    if not {start, end} <= tokenizer.get_vocab().keys():
        raise CheckpointError(f"the tokenizer has no {start} and {end}: is this its processor's?")

    def before(number: int, timeline: Timeline) -> str:
        return f"<{sum(step_times(number, timeline)) / FRAMES_PER_STEP:.1f} seconds>{start}"

    return FrameText(None, before, end)


def step_times(first: int, timeline: Timeline) -> tuple[float, float]:
    """When the two frames of a step are shown, the first of which is frame number ``first``, in seconds.

    A single last frame makes a pair with itself.
    """
    if not timeline.times_s:
        return first / ASSUMED_FPS, (first + 1) / ASSUMED_FPS
    first_s = timeline.time_s(first)
    return first_s, timeline.times_s[first + 1] if first + 1 < len(timeline.times_s) else first_s


def grid_positions(times: Sequence[int], rows: int, columns: int) -> torch.Tensor:
    """``[3, steps * rows * columns]``: time, row and column, in the order of the tokens."""
    axes = torch.tensor(times), torch.arange(rows), torch.arange(columns)
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)


def grid(model: PlainModel) -> tuple[int, int]:
    """Rows and columns of visual tokens."""
    vision, wanted = model.network.config.vision_config, model.frame_format
    side = vision.patch_size * vision.spatial_merge_size
    return wanted.height // side, wanted.width // side


def _steps(model: PlainModel, visual_X: torch.Tensor) -> int:
    return len(visual_X) // math.prod(grid(model))


def _by_times(model: PlainModel, place: Place, times: Sequence[int]) -> tuple[torch.Tensor, int]:
    # Behind the largest of all numbers, as these models were trained. transformers 5.23 begins behind the largest row
    # or column, whatever the time, so that a question stands before the end of all but the shortest videos.
    next_position = place.prompt_tokens + max(times[-1] + 1, *grid(model))
    return grid_positions(times, *grid(model)) + place.prompt_tokens, next_position
