"""What a chunk is to the language model: rows of visual tokens and of text between them, and their positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from videox2l.models.protocol import Timeline


@dataclass(frozen=True)
class Place:
    """Where a chunk stands in a video.

    ``first_frame``: sampled frames before it. ``position``: where text would go on if the chunk were not there.
    ``prompt_tokens``: those in front of the video. ``last``: the video ends with it.
    """

    first_frame: int
    timeline: Timeline
    position: int
    prompt_tokens: int
    last: bool


@dataclass(frozen=True)
class Stretch:
    """Input of the language model for one chunk, ``rows_XN``, in order; ``visual_X`` are those that are compressed.

    ``positions_3X``: time, row and column of each in the whole input, for models that have three numbers a token; text
    behind the chunk then begins at ``next_position``. ``more``: further arguments of the language model.
    """

    rows_XN: torch.Tensor
    visual_X: torch.Tensor
    positions_3X: torch.Tensor | None = None
    next_position: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
