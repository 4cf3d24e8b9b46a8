"""What a chunk is to the language model: rows of visual tokens and of text between them, and their positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

Rows = slice | torch.Tensor
"""Which rows: a slice, or their numbers."""


@dataclass(frozen=True)
class Place:
    """Where a chunk stands in a video.

    ``first_frame``: sampled frames before it. ``times_s``: when its frames are shown, in seconds after the video's
    first frame; empty where nobody said. ``position``: where text would go on if the chunk were not there.
    ``prompt_tokens``: those in front of the video. ``last``: the video ends with it.
    """

    first_frame: int
    times_s: tuple[float, ...]
    position: int
    prompt_tokens: int
    last: bool


@dataclass(frozen=True)
class Stretch:
    """Input of the language model for one chunk, ``rows_TN``, in order.

    ``visual`` rows are compressed, ``text`` rows are kept. ``positions_3T``: time, row and column of each in the whole
    input, for models that have three numbers a token; text behind the chunk then begins at ``next_position``.
    ``more``: further arguments of the language model.
    """

    rows_TN: torch.Tensor
    visual: Rows
    text: Rows
    positions_3T: torch.Tensor | None = None
    next_position: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
