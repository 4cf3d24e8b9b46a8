"""What differs between the model families of transformers: how frames become visual tokens.

A family's language model sits at ``model.language_model`` or ``model.text_model``, its head at ``lm_head``, and its
positions are one number a token. Visual tokens of a frame depend on that frame alone, and stand one frame behind
another, or with text between them (:mod:`videox2l.models.plain.interleaved`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from videox2l.models.plain.interleaved import (
    FrameText,
    internvl_frames,
    internvl_text,
    smolvlm_frames,
    smolvlm_text,
)


@dataclass(frozen=True)
class Family:
    """``frames(network, pixels_FCHW)``: visual tokens ``[F * P, N]``. ``behind(network)``: rows behind the video.

    ``text(tokenizer)``: what the family writes around every frame. ``tokens(network)``: P, where ``frames`` cannot be
    asked without weights.
    """

    frames: Callable[[Any, torch.Tensor], torch.Tensor]
    behind: Callable[[Any], torch.Tensor | None] = lambda _: None
    text: Callable[[Any], FrameText] | None = None
    tokens: Callable[[Any], int] | None = None


def _onevision_frames(network: Any, pixels_FCHW: torch.Tensor) -> torch.Tensor:
    rows_TN: torch.Tensor = network.model.get_video_features(pixels_FCHW[None]).pooler_output[0]
    return rows_TN[:-1]  # the last is the line break, which belongs behind the whole video


def _next_video_frames(network: Any, pixels_FCHW: torch.Tensor) -> torch.Tensor:
    rows_TN: torch.Tensor = network.model.get_video_features(pixels_FCHW[None]).pooler_output[0]
    return rows_TN


# By model_type of config.json.
FAMILIES: dict[str, Family] = {
    "llava_onevision": Family(_onevision_frames, lambda network: network.model.image_newline[None]),
    "llava_next_video": Family(_next_video_frames),
    "internvl": Family(internvl_frames, text=internvl_text),
    "smolvlm": Family(smolvlm_frames, text=smolvlm_text, tokens=lambda network: network.model.image_seq_len),
}
