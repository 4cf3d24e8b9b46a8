"""Plots as SVG that stands alone: it opens anywhere, without a script, in light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """<style>
svg { color-scheme: light dark; --text: #1c2330; --soft: #667085; --line: #dfe3ea; }
svg { --a: #2f6db5; --b: #b0722a; --c: #3f8a54; --d: #9a4fa3; }
@media (prefers-color-scheme: dark) {
svg { --text: #e6e9ef; --soft: #98a2b3; --line: #333b49; --a: #6ea8e8; --b: #e0a45c; --c: #7cc492; --d: #d191d8; } }
text { font: 12.5px system-ui, sans-serif; fill: var(--soft); } .title { font-weight: 600; fill: var(--text); }
.line { stroke: var(--line); fill: none; } .curve { fill: none; stroke-width: 2; } .faint { stroke-dasharray: 3 4; }
</style>"""

_COLOURS = ("var(--a)", "var(--b)", "var(--c)", "var(--d)")
_WIDTH, _HEIGHT = 760, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 560, 34, 292

# Least distance of two names' lines.
_NAME_HEIGHT = 16


@dataclass(frozen=True)
class Curve:
    """A named line through ``points`` (x, y), both above 0."""

    name: str
    points: Sequence[tuple[float, float]]


def log_curves(
    curves: Sequence[Curve], title: str, x_name: str, x_text: Callable[[float], str], y_text: Callable[[float], str]
) -> str:
    """Curves over two logarithmic axes, ticks at powers of ten and at the curves' own places; names at their ends."""
    xs = sorted({x for curve in curves for x, _ in curve.points})
    ys = [y for curve in curves for _, y in curve.points]
    y_from, y_to = (
        math.floor(math.log10(min(ys))),
        max(math.ceil(math.log10(max(ys))), math.floor(math.log10(min(ys))) + 1),
    )
    x_span = math.log(xs[-1] / xs[0]) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + math.log(x / xs[0]) / x_span * (_RIGHT - _LEFT)
        return across, _BOTTOM - (math.log10(y) - y_from) / (y_to - y_from) * (_BOTTOM - _TOP)

    parts = [text(8, 16, title, "title"), text((_LEFT + _RIGHT) / 2, _HEIGHT - 8, x_name, anchor="middle")]
    for power in range(y_from, y_to + 1):
        _, y = place(xs[0], 10.0**power)
        parts += [line(_LEFT, y, _RIGHT, y), text(_LEFT - 8, y + 4, y_text(10.0**power), anchor="end")]
    parts += [text(place(x, 10.0**y_from)[0], _BOTTOM + 18, x_text(x), anchor="middle") for x in xs]
    ends = [place(*curve.points[-1])[1] for curve in curves]
    for curve, colour, name_y in zip(curves, _COLOURS, _apart(ends), strict=False):
        steps = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in curve.points))
        parts.append(f'<polyline class="curve" stroke="{colour}" points="{steps}"/>')
        parts.append(f'<text x="{_RIGHT + 10}" y="{name_y + 4:.1f}" style="fill:{colour}">{escape(curve.name)}</text>')
    return document(_WIDTH, _HEIGHT, title, parts)


def _apart(wanted: Sequence[float]) -> list[float]:
    """Heights near ``wanted``, in its order, a name's height from one another."""
    placed, found = -math.inf, [0.0] * len(wanted)
    for index in sorted(range(len(wanted)), key=wanted.__getitem__):
        placed = found[index] = max(wanted[index], placed + _NAME_HEIGHT)
    return found


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    """A thin line, as axes have."""
    return f'<line class="line" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """``words``, whose ``anchor`` is at that place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def document(width: float, height: float, title: str, parts: Sequence[str], style: str = _STYLE) -> str:
    """A whole file; ``title`` is what a screen reader says of it."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
    return "\n".join([f'{head} role="img" aria-label="{escape(title)}">', style, *parts, "</svg>", ""])
