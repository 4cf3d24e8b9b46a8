"""The form in which a model wants its frames. Decoding scales straight to it, so full-size frames never pile up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FrameFormat:
    """Target size in pixels of decoded RGB frames.

    ``fit="crop"`` scales the shorter side to the target and crops the centre (CLIP's preprocessing);
    ``fit="stretch"`` scales both sides independently, so that nothing of the picture is lost.
    """

    height: int
    width: int
    fit: Literal["crop", "stretch"] = "crop"
