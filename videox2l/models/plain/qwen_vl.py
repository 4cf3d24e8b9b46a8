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

from videox2l.models.plain.stretch import Place, Stretch

if TYPE_CHECKING:
    from videox2l.models.plain.model import PlainModel

FRAMES_PER_STEP = 2
"""``temporal_patch_size`` of all published models."""

ASSUMED_FPS = 2.0
"""Where no times are given: the rate at which these models sample a video by default."""

TEXT_TOKENS_PER_STEP = 16
"""Of Qwen3-VL, at most: ``<12345.6 seconds>``, a digit a token, and the two tokens around a step."""

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


def arrange_by_step(model: PlainModel, visual_TN: torch.Tensor, place: Place) -> Stretch:
    """Qwen2-VL: each pair of frames is one step later."""
    first = place.first_frame // FRAMES_PER_STEP
    return _arrange(model, visual_TN, place, range(first, first + _steps(model, visual_TN)))


def arrange_by_time(model: PlainModel, visual_TN: torch.Tensor, place: Place) -> Stretch:
    """Qwen2.5-VL: each pair of frames is where its first frame's time is, at a fixed number of positions a second."""
    per_second = model.network.config.vision_config.tokens_per_second
    times_s = [first_s for first_s, _ in step_times(place, _steps(model, visual_TN))]
    return _arrange(model, visual_TN, place, [math.floor(per_second * (time_s + _EARLY_S)) for time_s in times_s])


def arrange_with_times(model: PlainModel, visual_TN: torch.Tensor, place: Place) -> Stretch:
    """Qwen3-VL: the time, as text, in front of each pair of frames, which all have one number for it."""
    config, embed = model.network.config, model.decoder.get_input_embeddings()
    rows, columns = grid(model)
    steps = visual_TN.split(rows * columns)
    position, rows_TN, positions_3T, seen = place.position, [], [], []

    def add(part_TN: torch.Tensor, places_3T: torch.Tensor, visual: bool) -> None:
        rows_TN.append(part_TN)
        positions_3T.append(places_3T + position)
        seen.append(torch.full((len(part_TN),), visual))

    def add_text(ids: list[int]) -> int:
        add(embed(torch.tensor(ids, device=visual_TN.device)), torch.arange(len(ids)).expand(3, -1), False)
        return len(ids)

    for step_TN, (first_s, last_s) in zip(steps, step_times(place, len(steps)), strict=True):
        time = _plain_ids(model, f"<{(first_s + last_s) / 2:.1f} seconds>")
        position += add_text([*time, config.vision_start_token_id])
        add(step_TN[:, : embed.weight.shape[1]], grid_positions([0], rows, columns), True)
        position += max(rows, columns)
        position += add_text([config.vision_end_token_id])
    seen_T = torch.cat(seen).to(visual_TN.device)
    deeper = list(visual_TN.split(embed.weight.shape[1], dim=1)[1:])
    return Stretch(
        torch.cat(rows_TN),
        seen_T.nonzero()[:, 0],
        (~seen_T).nonzero()[:, 0],
        torch.cat(positions_3T, dim=1).to(visual_TN.device),
        position,
        {"visual_pos_masks": seen_T[None], "deepstack_visual_embeds": deeper},
    )


def step_times(place: Place, steps: int) -> list[tuple[float, float]]:
    """When the first and the last frame of each step is shown, in seconds."""
    count = FRAMES_PER_STEP * steps
    times_s = list(place.times_s) or [(place.first_frame + frame) / ASSUMED_FPS for frame in range(count)]
    times_s += times_s[-1:] * (count - len(times_s))
    return list(zip(times_s[::FRAMES_PER_STEP], times_s[FRAMES_PER_STEP - 1 :: FRAMES_PER_STEP], strict=True))


def grid_positions(times: Sequence[int], rows: int, columns: int) -> torch.Tensor:
    """``[3, steps * rows * columns]``: time, row and column, in the order of the tokens."""
    axes = torch.tensor(times), torch.arange(rows), torch.arange(columns)
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)


def grid(model: PlainModel) -> tuple[int, int]:
    """Rows and columns of visual tokens."""
    vision, wanted = model.network.config.vision_config, model.frame_format
    side = vision.patch_size * vision.spatial_merge_size
    return wanted.height // side, wanted.width // side


def _plain_ids(model: PlainModel, text: str) -> list[int]:
    ids: list[int] = model.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def _steps(model: PlainModel, visual_TN: torch.Tensor) -> int:
    return len(visual_TN) // math.prod(grid(model))


def _arrange(model: PlainModel, visual_TN: torch.Tensor, place: Place, times: Sequence[int]) -> Stretch:
    positions_3T = grid_positions(times, *grid(model)).to(visual_TN.device) + place.prompt_tokens
    tokens = len(visual_TN)
    # Behind the largest of all numbers, as these models were trained. transformers 5.23 begins behind the largest row
    # or column, whatever the time, so that a question stands before the end of all but the shortest videos.
    next_position = place.prompt_tokens + max(times[-1] + 1, *grid(model))
    return Stretch(visual_TN, slice(0, tokens), slice(tokens, tokens), positions_3T, next_position)
