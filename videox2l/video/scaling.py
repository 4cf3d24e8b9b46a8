"""From a decoded picture to what the model sees: one pass of swscale to the target size, then turned upright."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from videox2l.video.frames import FrameFormat

# ACCURATE_RND and BITEXACT give the same pixels on every CPU, so that KVs made on different machines agree.
_INTERPOLATION = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT

SQUARE = Fraction(1)


@dataclass(frozen=True)
class Orientation:
    """How a stored picture is turned for display: rows and columns swapped first, then mirrored."""

    swap_axes: bool = False
    flip_x: bool = False
    flip_y: bool = False
    rotation: int = 0

    def apply(self, picture_HWC: np.ndarray) -> np.ndarray:
        """``picture_HWC`` as displayed: a view, [W, H, C] if the axes are swapped."""
        upright = picture_HWC.swapaxes(0, 1) if self.swap_axes else picture_HWC
        return upright[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]


def orientation(frame: Any) -> Orientation:
    """Read the display matrix of ``frame`` (an ``av.VideoFrame``), rounded to quarter turns and mirrorings."""
    if "DISPLAYMATRIX" not in frame.side_data:
        return Orientation()
    # (x, y) is shown at (a x + c y, b x + d y); the matrix is stored row by row as [a b u; c d v; x y w].
    a, b, _, c, d, *_ = np.frombuffer(bytes(frame.side_data["DISPLAYMATRIX"]), dtype=np.int32).tolist()
    rotation = round(frame.rotation / 90) * 90 % 360
    if abs(b) > abs(a):
        return Orientation(swap_axes=True, flip_x=c < 0, flip_y=b < 0, rotation=rotation)
    return Orientation(flip_x=a < 0, flip_y=d < 0, rotation=rotation)


def display_size(frame: Any, pixel_aspect: Fraction) -> tuple[int, int]:
    """Width and height of ``frame`` in square pixels, upright. ``pixel_aspect``: a stored pixel's width over height."""
    width = round(frame.width * pixel_aspect)
    return (frame.height, width) if orientation(frame).swap_axes else (width, frame.height)


class FrameScaler:
    """Scales decoded frames of any size and pixel format to ``fmt``; an alpha channel is dropped."""

    def __init__(self, fmt: FrameFormat) -> None:
        self._fmt = fmt
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any, pixel_aspect: Fraction = SQUARE) -> np.ndarray:
        """``frame`` (an ``av.VideoFrame``) as RGB, uint8 [fmt.height, fmt.width, 3]; possibly a view."""
        turn = orientation(frame)
        width, height = self._scaled_size(*display_size(frame, pixel_aspect))
        stored = (height, width) if turn.swap_axes else (width, height)
        scaled = self._reformatter.reformat(
            # One thread: pictures this small gain nothing from more, and decoding uses the cores.
            frame,
            *stored,
            format="rgb24",
            interpolation=_INTERPOLATION,
            threads=1,
        )
        return self._crop(turn.apply(scaled.to_ndarray()))

    def _scaled_size(self, width: int, height: int) -> tuple[int, int]:
        fmt = self._fmt
        if fmt.fit == "stretch":
            return fmt.width, fmt.height
        scale = max(fmt.width / width, fmt.height / height)
        # Rounded down like CLIP's own preprocessing, but never below the target.
        return max(fmt.width, int(width * scale)), max(fmt.height, int(height * scale))

    def _crop(self, picture_HWC: np.ndarray) -> np.ndarray:
        height, width = picture_HWC.shape[:2]
        top, left = (height - self._fmt.height) // 2, (width - self._fmt.width) // 2
        return picture_HWC[top : top + self._fmt.height, left : left + self._fmt.width]
