"""Plots of the suites' report as SVG that stands alone: it opens anywhere, without a script, in light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.svg import document, line, text

_STYLE = """<style>
svg { color-scheme: light dark; --text: #1c2330; --soft: #667085; --line: #dfe3ea; --mark: #2f6db5; --other: #b0722a; }
@media (prefers-color-scheme: dark) {
svg { --text: #e6e9ef; --soft: #98a2b3; --line: #333b49; --mark: #6ea8e8; --other: #e0a45c; } }
text { font: 12.5px system-ui, sans-serif; fill: var(--soft); } .strong { fill: var(--text); }
.title { font-weight: 600; fill: var(--text); } .line { stroke: var(--line); fill: none; }
.mark { fill: var(--mark); } .other { fill: var(--other); } .plain { fill: var(--soft); } .faint { opacity: .3; }
</style>"""

_LABEL_HEIGHT = 16  # least distance of two labels' lines


@dataclass(frozen=True)
class Point:
    """A method: the share of low-only's bytes it reads, its accuracy. ``kind``: a class of the style."""

    label: str
    x: float
    y: float
    kind: str


def scatter(points: Sequence[Point], title: str) -> str:
    """Accuracy against bytes, the latter on a logarithmic axis. Labels stand at the right, tied to their points."""
    left, top, right, width = 48, 34, 470, 760
    height = max(300, len(points) * _LABEL_HEIGHT + top + 50)
    bottom = height - 44
    least = math.log(min(0.05, *(point.x for point in points)))

    def x(share: float) -> float:
        return left + (1 - math.log(share) / least) * (right - left)

    def y(accuracy: float) -> float:
        return bottom - accuracy * (bottom - top)

    parts = [text(left, 16, title, "title")]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts += [line(left, y(tick), right, y(tick)), text(left - 8, y(tick) + 4, f"{tick:.0%}", anchor="end")]
    for tick in (0.05, 0.1, 0.2, 0.5, 1):
        parts.append(text(x(tick), bottom + 18, f"{tick:.0%}", anchor="middle"))
    parts.append(text((left + right) / 2, height - 6, "share of low-only's bytes that is read", anchor="middle"))
    ordered = sorted(points, key=lambda point: -point.y)
    for label_y, point in zip(_apart([y(point.y) for point in ordered], bottom), ordered, strict=True):
        parts.append(f'<path class="line" d="M{x(point.x):.1f} {y(point.y):.1f}L{right + 26} {label_y:.1f}"/>')
        strong = "strong" if point.kind == "mark" else ""
        parts.append(text(right + 32, label_y + 4, f"{point.label}  {point.y:.0%}", strong))
    parts += [
        f'<circle class="{p.kind}" cx="{x(p.x):.1f}" cy="{y(p.y):.1f}" r="5"/>' for p in sorted(ordered, key=_layer)
    ]
    return document(width, height, title, parts, _STYLE)


def heat_map(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], title: str, axes: str
) -> str:
    """Shares as coloured cells with their numbers; ``None`` leaves a cell empty. ``axes`` says what they are."""
    left = max(112, 14 + 7 * max(map(len, rows), default=0))
    top, cell_width, cell_height = 44, 60, 28
    width, height = left + cell_width * len(columns) + 8, top + cell_height * len(rows) + 30
    parts = [text(8, 16, title, "title")]
    parts += [text(left + (n + 0.5) * cell_width, top - 8, name, anchor="middle") for n, name in enumerate(columns)]
    for number, (name, of_row) in enumerate(zip(rows, values, strict=True)):
        y = top + number * cell_height
        parts.append(text(left - 10, y + 19, name, anchor="end"))
        for place, value in enumerate(of_row):
            if value is None:
                continue
            x = left + place * cell_width
            parts.append(
                f'<rect class="mark" x="{x}" y="{y}" width="{cell_width - 2}" height="{cell_height - 2}" rx="3" '
                f'opacity="{0.06 + 0.54 * value:.2f}"/>'
            )
            parts.append(text(x + cell_width / 2 - 1, y + 18, f"{value:.0%}", "strong", anchor="middle"))
    parts.append(text(8, height - 8, axes))
    return document(max(width, 8 * len(axes)), height, title, parts, _STYLE)


def stacked_bars(rows: Sequence[tuple[str, float, float]], title: str, unit: str) -> str:
    """``(label, part, whole)`` as bars, the part in full colour; numbers stand behind them."""
    left, top, row_height, span = 150, 34, 26, 400
    largest = max(whole for _, _, whole in rows) or 1.0
    parts = [text(8, 16, title, "title")]
    for number, (label, part, whole) in enumerate(rows):
        y, length = top + number * row_height, whole / largest * span
        parts.append(text(left - 10, y + 13, label, anchor="end"))
        parts.append(f'<rect class="mark faint" x="{left}" y="{y}" width="{length:.1f}" height="16" rx="2"/>')
        part_length = part / largest * span
        parts.append(f'<rect class="mark" x="{left}" y="{y}" width="{part_length:.1f}" height="16" rx="2"/>')
        words = f"{whole:.1f} {unit}, {part / whole:.0%} of it choosing" if whole else "–"
        parts.append(text(left + length + 8, y + 13, words, "strong"))
    return document(left + span + 190, top + row_height * len(rows) + 8, title, parts, _STYLE)


def _layer(point: Point) -> int:
    """What is drawn last is seen where points coincide."""
    return ("plain", "other", "mark").index(point.kind)


def _apart(wanted: Sequence[float], bottom: float) -> list[float]:
    """Heights of labels near ``wanted`` (ascending), each a label's height below the one before."""
    placed: list[float] = []
    for height in wanted:
        placed.append(max(height, placed[-1] + _LABEL_HEIGHT) if placed else height)
    for index in range(len(placed) - 1, -1, -1):
        limit = bottom if index == len(placed) - 1 else placed[index + 1] - _LABEL_HEIGHT
        placed[index] = min(placed[index], limit)
    return placed
