"""What differs between the model families of transformers: how frames become visual tokens, and where those stand.

A family's language model sits at ``model.language_model`` or ``model.text_model``, its head at ``lm_head``. Visual
tokens of a frame (or of the few frames that a model takes as one step in time) depend on those frames alone. They stand
one behind another, or with text between them (:mod:`videox2l.models.plain.interleaved`), at positions of one number a
token, or of three (:mod:`videox2l.models.plain.qwen_vl`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from videox2l.models.plain import qwen_vl
from videox2l.models.plain.interleaved import (
    FrameText,
    internvl_frames,
    internvl_text,
    smolvlm_frames,
    smolvlm_text,
)
from videox2l.models.plain.stretch import Place

if TYPE_CHECKING:
    from videox2l.models.plain.model import PlainModel


Positions = tuple[torch.Tensor, int]
"""Time, row and column of each row of a chunk, ``[3, X]``, and the position at which text behind them begins."""


@dataclass(frozen=True)
class Family:
    """One family of models.

    ``frames(network, pixels_FCHW)``: visual tokens ``[F / frames_per_step * P, N]``, ``F`` filled up to whole steps in
    time. What a model adds to them behind its first layers follows in the same row: ``[…, N * (1 + layers)]``.
    ``behind(network)``: rows behind the video. ``text(tokenizer)``: what the family writes around every step.
    ``positions(model, visual_X, place)``: for models whose positions are three numbers a token (M-RoPE), those of a
    chunk whose rows are visual or text. ``shell(text_config)``: a causal language model of the same layout, whose
    weights are replaced by the family's. ``tokens(network)``: P, where ``frames`` cannot be asked without weights.
    """

    frames: Callable[[Any, torch.Tensor], torch.Tensor]
    behind: Callable[[Any], torch.Tensor | None] = lambda _: None
    text: Callable[[Any], FrameText] | None = None
    frames_per_step: int = 1
    positions: Callable[[PlainModel, torch.Tensor, Place], Positions] | None = None
    shell: Callable[[Any], PreTrainedModel] = AutoModelForCausalLM.from_config
    tokens: Callable[[Any], int] | None = None


def _onevision_frames(network: Any, pixels_FCHW: torch.Tensor) -> torch.Tensor:
    rows_TN: torch.Tensor = network.model.get_video_features(pixels_FCHW[None]).pooler_output[0]
    return rows_TN[:-1]  # the last is the line break, which belongs behind the whole video


def _next_video_frames(network: Any, pixels_FCHW: torch.Tensor) -> torch.Tensor:
    rows_TN: torch.Tensor = network.model.get_video_features(pixels_FCHW[None]).pooler_output[0]
    return rows_TN


def _qwen(
    positions: Callable[[PlainModel, torch.Tensor, Place], Positions], text: Callable[[Any], FrameText] | None = None
) -> Family:
    step, shell = qwen_vl.FRAMES_PER_STEP, qwen_vl.shell
    return Family(qwen_vl.frames, text=text, frames_per_step=step, positions=positions, shell=shell)


# By model_type of config.json.
FAMILIES: dict[str, Family] = {
    "llava_onevision": Family(_onevision_frames, lambda network: network.model.image_newline[None]),
    "llava_next_video": Family(_next_video_frames),
    "internvl": Family(internvl_frames, text=internvl_text),
    "smolvlm": Family(smolvlm_frames, text=smolvlm_text, tokens=lambda network: network.model.image_seq_len),
    "qwen2_vl": _qwen(qwen_vl.by_step),
    "qwen2_5_vl": _qwen(qwen_vl.by_time),
    "qwen3_vl": _qwen(qwen_vl.in_order, qwen_vl.step_text),
}
