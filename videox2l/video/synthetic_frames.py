"""Paints one frame of a synthetic clip: a coloured picture with a shape, three digits and a bar that counts seconds.

The layout is given in fractions of the frame, so a clip can be rendered at any size::

    +---------+---------+      every quadrant holds one card on a background of the scene's colour:
    |  shape  | digit 1 |      the shape (in the same colour) and the three digits of the current second.
    +---------+---------+      The bar below has eight cells; as many are lit as seconds of the scene have begun.
    | digit 2 | digit 3 |
    +--=====------------+

Quadrants, because a vision tower that pools its patches to a 2x2 grid then has exactly one visual token for each.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

# Names a person would use, far enough apart to survive brightness changes and chroma subsampling.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 36, 36),
    "orange": (245, 140, 20),
    "yellow": (248, 220, 40),
    "green": (40, 160, 60),
    "cyan": (60, 200, 205),
    "blue": (40, 70, 215),
    "purple": (125, 40, 175),
    "pink": (250, 140, 190),
    "brown": (125, 75, 35),
    "black": (30, 30, 34),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "cross", "moon")

SECONDS_PER_SCENE = 8
"""A scene lasts as long as one chunk of the tiny model: 8 frames at 1 frame/s."""

_CARD = (244, 243, 238)
_INK = (22, 22, 26)
_BAR_OFF = (58, 58, 64)
_BAR_ON = (255, 255, 255)
_BAR_TOP = 0.93  # the bar takes the lowest 7 % of the frame: two rows of pixels or more even at 32 pixels height
_NOISE_LEVEL = 4.0  # standard deviation in grey levels: what a phone camera shows in ordinary light

_Point = tuple[float, float]


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)  # Pillow brings this font along: frames do not depend on installed fonts


@functools.cache
def _noise(height: int, width: int) -> NDArray[np.int16]:
    """One noise field, larger than a frame; every frame takes another window of it (drawing fresh noise is slower)."""
    rng = np.random.default_rng(0)
    return np.rint(rng.normal(0.0, _NOISE_LEVEL, (height + 64, width + 64, 3))).astype(np.int16)


def _outline(shape: str) -> list[_Point]:
    """The shape as a polygon within the unit circle, y pointing down."""
    circle = [(math.cos(a), math.sin(a)) for a in np.linspace(0, 2 * math.pi, 40, endpoint=False)]
    if shape == "circle":
        return [(0.9 * x, 0.9 * y) for x, y in circle]
    if shape == "square":
        return [(-0.75, -0.75), (0.75, -0.75), (0.75, 0.75), (-0.75, 0.75)]
    if shape == "triangle":
        return [(0.0, -0.95), (0.95, 0.8), (-0.95, 0.8)]
    if shape == "diamond":
        return [(0.0, -1.0), (0.75, 0.0), (0.0, 1.0), (-0.75, 0.0)]
    if shape == "cross":
        a, b = 0.32, 0.95
        return [
            (-a, -b),
            (a, -b),
            (a, -a),
            (b, -a),
            (b, a),
            (a, a),
            (a, b),
            (-a, b),
            (-a, a),
            (-b, a),
            (-b, -a),
            (-a, -a),
        ]
    if shape == "star":
        radii = (1.0, 0.42)
        angles = [-math.pi / 2 + i * math.pi / 5 for i in range(10)]
        return [(radii[i % 2] * math.cos(a), radii[i % 2] * math.sin(a)) for i, a in enumerate(angles)]
    if shape == "heart":
        turns = np.linspace(0, 2 * math.pi, 40, endpoint=False)
        xs = 16 * np.sin(turns) ** 3
        ys = 13 * np.cos(turns) - 5 * np.cos(2 * turns) - 2 * np.cos(3 * turns) - np.cos(4 * turns)
        return [(float(x) / 17, -float(y) / 17) for x, y in zip(xs, ys, strict=True)]
    if shape == "moon":
        outer = [(0.95 * math.cos(a), 0.95 * math.sin(a)) for a in np.linspace(0.3 * math.pi, 1.7 * math.pi, 24)]
        inner = [(0.45 + 0.8 * math.cos(a), 0.8 * math.sin(a)) for a in np.linspace(1.62 * math.pi, 0.38 * math.pi, 24)]
        return outer + inner
    raise ValueError(f"unknown shape {shape!r}; known: {', '.join(SHAPES)}")


def paint(
    colour: str, shape: str, digits: tuple[int, int, int], second: int, time_s: float, *, width: int, height: int
) -> NDArray[np.uint8]:
    """One RGB frame [height, width, 3]; ``second`` counts from 1 within the scene, ``time_s`` drives the motion.

    Everything that moves is a smooth function of ``time_s``, so neighbouring frames look like video, and the same
    arguments always give the same picture.
    """
    rgb = COLOURS[colour]
    image = Image.new("RGB", (width, height), rgb)
    draw = ImageDraw.Draw(image)
    _draw_stripes(draw, rgb, time_s, width, height)
    top = _BAR_TOP * height
    centres = [(0.25, 0.25), (0.75, 0.25), (0.25, 0.72), (0.75, 0.72)]
    for quadrant, (x, y) in enumerate(centres):
        # Slow sways at unrelated speeds; 1.5 % of the frame is about 5 pixels of 320.
        cx = width * (x + 0.015 * math.sin(1.7 * time_s + 2.1 * quadrant))
        cy = height * (y + 0.015 * math.sin(2.3 * time_s + 1.3 * quadrant))
        half_w, half_h = 0.205 * width, 0.19 * height
        box = (cx - half_w, cy - half_h, cx + half_w, cy + half_h)
        draw.rounded_rectangle(box, radius=0.03 * height, fill=_CARD)
        if quadrant == 0:
            _draw_shape(draw, shape, rgb, cx, cy, 0.16 * height, time_s)
        else:
            size = int(0.36 * height * (1 + 0.05 * math.sin(1.1 * time_s + quadrant)))
            draw.text((cx, cy), str(digits[quadrant - 1]), font=_font(max(size, 4)), fill=_INK, anchor="mm")
    draw.rectangle((0, top, width, height), fill=_BAR_OFF)
    for cell in range(min(second, SECONDS_PER_SCENE)):
        left, right = (width * (cell + edge) / SECONDS_PER_SCENE for edge in (0.08, 0.92))
        draw.rectangle((left, top + 0.01 * height, right, height - 0.01 * height), fill=_BAR_ON)
    return _add_light_and_noise(np.asarray(image), time_s)


def _draw_stripes(draw: ImageDraw.ImageDraw, rgb: tuple[int, int, int], time_s: float, width: int, height: int) -> None:
    """Faint diagonal stripes that drift, so that the background is not a constant."""
    fainter = tuple(min(255, channel + 14) for channel in rgb)
    period = 0.25 * width
    shift = (0.05 * width * time_s) % period
    for i in range(-4, 5):
        x = i * period + shift
        draw.polygon(
            [(x, height), (x + period / 2, height), (x + period / 2 + height, 0), (x + height, 0)], fill=fainter
        )


def _draw_shape(
    draw: ImageDraw.ImageDraw, shape: str, rgb: tuple[int, int, int], cx: float, cy: float, radius: float, time_s: float
) -> None:
    # A tilt of at most 9 degrees: a square must not turn into a diamond.
    tilt = math.radians(9) * math.sin(1.3 * time_s)
    radius *= 1 + 0.06 * math.sin(2.9 * time_s)
    cos, sin = radius * math.cos(tilt), radius * math.sin(tilt)
    points = [(cx + cos * x - sin * y, cy + sin * x + cos * y) for x, y in _outline(shape)]
    draw.polygon(points, fill=rgb, outline=_INK, width=max(1, round(radius / 16)))


def _add_light_and_noise(frame: NDArray[np.uint8], time_s: float) -> NDArray[np.uint8]:
    height, width, _ = frame.shape
    light = 1.0 + 0.08 * math.sin(0.37 * time_s) + 0.03 * math.sin(5.1 * time_s)
    place = int(time_s * 1000)
    dy, dx = (place * 7919) % 64, (place * 104729) % 64
    noise = _noise(height, width)[dy : dy + height, dx : dx + width]
    scaled = (frame.astype(np.int32) * round(light * 256)) >> 8
    result: NDArray[np.uint8] = np.clip(scaled + noise, 0, 255).astype(np.uint8)
    return result
