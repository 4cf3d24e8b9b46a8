"""Shapes of a report's plots. The page draws them as SVG: it must open anywhere, without a script or a server."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH = 720
"""Of every plot, in SVG units, which are pixels until the page is narrower."""

# The middle column of a bar chart; labels stand to its left, values to its right.
_BARS_LEFT, _BARS_WIDTH = 230, 390
_ROW_HEIGHT, _BAR_HEIGHT = 24, 14

# Letters of a label that fit into its column at the page's size of letters.
_LABEL_LENGTH = 32

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 12, 30
_CURVE_HEIGHT = 210


@dataclass(frozen=True)
class Bar:
    """``title`` is the whole label, ``text`` the value in words."""

    label: str
    title: str
    text: str
    y: float
    width: float


@dataclass(frozen=True)
class Bars:
    """Horizontal bars from one line on."""

    bars: tuple[Bar, ...]
    height: int
    left: int = _BARS_LEFT
    thickness: int = _BAR_HEIGHT


@dataclass(frozen=True)
class Tick:
    """A mark on an axis at ``at`` SVG units."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """An area below steps, with both axes' ticks. ``left`` … ``bottom`` are the borders of the plot inside."""

    area: str
    outline: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    height: int = _CURVE_HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = _CURVE_HEIGHT - _BOTTOM


def bars(values: Sequence[tuple[str, float]], text: Callable[[float], str]) -> Bars:
    """One bar for each label and value, in their order. ``text`` writes a value."""
    largest = max((value for _, value in values), default=0.0) or 1.0
    made = [
        Bar(_shortened(label), label, text(value), number * _ROW_HEIGHT + 5, round(value / largest * _BARS_WIDTH, 1))
        for number, (label, value) in enumerate(values)
    ]
    return Bars(tuple(made), len(made) * _ROW_HEIGHT)


def steps(values: Sequence[float], step: float, end: float, text: Callable[[float], str]) -> Curve:
    """``values``, each for ``step`` on the x axis, which runs from 0 to ``end``. ``text`` writes its ticks."""
    top = _round_up(max(values, default=0.0))
    end = end or step
    bottom, width = _CURVE_HEIGHT - _BOTTOM, WIDTH - _LEFT - _RIGHT

    def x(place: float) -> float:
        return round(_LEFT + min(place / end, 1.0) * width, 1)

    def y(value: float) -> float:
        return round(bottom - value / top * (bottom - _TOP), 1)

    line = "".join(f"V{y(value)}H{x(step * (number + 1))}" for number, value in enumerate(values))
    first = f"M{_LEFT} {y(values[0]) if values else bottom}"
    return Curve(
        f"M{_LEFT} {bottom}{line}V{bottom}Z",
        first + line,
        tuple(Tick(x(end * part), text(end * part)) for part in (0, 0.25, 0.5, 0.75, 1)),
        tuple(Tick(y(top * part), f"{top * part:g}") for part in (0, 0.5, 1)),
    )


def _round_up(value: float) -> float:
    """The next number whose half is short to write, such as 1.2, 2, 3 or 4 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    # Half a unit in the tenth decimal: a number that is round already stays.
    return next(
        factor * power for factor in (1, 1.2, 1.6, 2, 3, 4, 6, 8, 10, 12) if factor * power >= value * (1 - 1e-10)
    )


def _shortened(label: str) -> str:
    # Names that differ at their end only, as those of a series do, stay apart.
    half = (_LABEL_LENGTH - 1) // 2
    return label if len(label) <= _LABEL_LENGTH else f"{label[:half]}…{label[-half:]}"
