"""What differs between the model families of transformers: how frames become visual tokens, and where those stand.

A family's language model sits at ``model.language_model``, its head at ``lm_head``. Visual tokens of a frame (or of the
few frames that a model takes as one step in time) depend on those frames alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from videox2l.models.plain import qwen_vl
from videox2l.models.plain.stretch import Place, Stretch

if TYPE_CHECKING:
    from videox2l.models.plain.model import PlainModel


def one_behind_another(model: PlainModel, visual_TN: torch.Tensor, place: Place) -> Stretch:
    """Positions are one number a token; text stands behind the whole video only."""
    behind_SN = model.rows_behind if place.last else visual_TN[:0]
    tokens = len(visual_TN)
    rows_TN = torch.cat([visual_TN, behind_SN.to(visual_TN)])
    return Stretch(rows_TN, slice(0, tokens), slice(tokens, len(rows_TN)))


@dataclass(frozen=True)
class Family:
    """One family of models.

    ``frames(network, pixels_FCHW)``: visual tokens ``[F / frames_per_step * P, N]``, ``F`` filled up to whole steps.
    ``behind(network)``: rows behind the video. ``arrange``: a chunk's rows and positions. ``three_positions``: they are
    three numbers a token (M-RoPE). ``text_tokens_per_step``: at most, of text between frames.
    ``shell(text_config)``: a causal language model of the same layout, whose weights are replaced by the family's.
    """

    frames: Callable[[Any, torch.Tensor], torch.Tensor]
    behind: Callable[[Any], torch.Tensor | None] = lambda _: None
    frames_per_step: int = 1
    arrange: Callable[[PlainModel, torch.Tensor, Place], Stretch] = one_behind_another
    three_positions: bool = False
    text_tokens_per_step: int = 0
    shell: Callable[[Any], PreTrainedModel] = AutoModelForCausalLM.from_config


def _onevision_frames(network: Any, pixels_FCHW: torch.Tensor) -> torch.Tensor:
    rows_TN: torch.Tensor = network.model.get_video_features(pixels_FCHW[None]).pooler_output[0]
    return rows_TN[:-1]  # the last is the line break, which belongs behind the whole video


def _next_video_frames(network: Any, pixels_FCHW: torch.Tensor) -> torch.Tensor:
    rows_TN: torch.Tensor = network.model.get_video_features(pixels_FCHW[None]).pooler_output[0]
    return rows_TN


def _qwen(arrange: Callable[[PlainModel, torch.Tensor, Place], Stretch], text_tokens_per_step: int = 0) -> Family:
    return Family(
        qwen_vl.frames,
        text_tokens_per_step=text_tokens_per_step,
        frames_per_step=qwen_vl.FRAMES_PER_STEP,
        arrange=arrange,
        three_positions=True,
        shell=qwen_vl.shell,
    )


# By model_type of config.json.
FAMILIES: dict[str, Family] = {
    "llava_onevision": Family(_onevision_frames, lambda network: network.model.image_newline[None]),
    "llava_next_video": Family(_next_video_frames),
    "qwen2_vl": _qwen(qwen_vl.arrange_by_step),
    "qwen2_5_vl": _qwen(qwen_vl.arrange_by_time),
    "qwen3_vl": _qwen(qwen_vl.arrange_with_times, qwen_vl.TEXT_TOKENS_PER_STEP),
}
