from __future__ import annotations

import av
import numpy as np
import pytest

from tests.unit.video.clips import number_picture, read_number
from videox2l.video import FrameFormat
from videox2l.video.scaling import FrameScaler


def frame_of(picture_HWC: np.ndarray, pix_fmt: str = "yuv444p") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC), format="rgb24").reformat(format=pix_fmt)


@pytest.mark.parametrize(
    "pix_fmt",
    [
        "yuv420p",
        "yuvj420p",
        "nv12",
        "yuv420p10le",
        "yuv422p",
        "yuv444p12le",
        "yuva420p",
        "gray",
        "gray16le",
        "rgba",
        "gbrp",
        "bgr0",
    ],
)
@pytest.mark.parametrize("size", [(64, 64), (63, 65), (17, 200), (640, 360)])
def test_pixel_formats_and_sizes(pix_fmt: str, size: tuple[int, int]) -> None:
    scaled = FrameScaler(FrameFormat(48, 40, "stretch"))(frame_of(number_picture(1234, *size), pix_fmt))
    assert scaled.shape == (48, 40, 3)
    assert scaled.dtype == np.uint8
    assert read_number(scaled) == 1234


@pytest.mark.parametrize(("width", "height"), [(320, 180), (180, 320), (200, 200), (1000, 20)])
def test_crop_keeps_the_centre_and_the_proportions(width: int, height: int) -> None:
    side = min(width, height)
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    picture[top : top + side, left : left + side] = number_picture(99, side, side)
    scaled = FrameScaler(FrameFormat(64, 64, "crop"))(frame_of(picture))
    assert scaled.shape == (64, 64, 3)
    assert read_number(scaled) == 99


def test_crop_to_a_wide_target() -> None:
    picture = np.zeros((200, 200, 3), dtype=np.uint8)
    picture[50:150] = number_picture(7, 200, 100)
    scaled = FrameScaler(FrameFormat(32, 64, "crop"))(frame_of(picture))
    assert scaled.shape == (32, 64, 3)
    assert read_number(scaled) == 7


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "rgb24", "yuvj444p"])
@pytest.mark.parametrize("rgb", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 40)])
def test_colours(pix_fmt: str, rgb: tuple[int, int, int]) -> None:
    picture = np.broadcast_to(np.array(rgb, dtype=np.uint8), (40, 40, 3))
    scaled = FrameScaler(FrameFormat(20, 20))(frame_of(picture, pix_fmt))
    assert np.abs(scaled.astype(int) - rgb).max() <= 4
