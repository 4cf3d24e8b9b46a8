"""How a prefill's time grows with the video, as an SVG that stands alone: in light and dark, without a script."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 760, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 250, 36, 42

_NAMES = {"own": "both passes", "stock": "stock model, same tokens and past", "attention": "attention alone"}

_STYLE = """<style>
svg { color-scheme: light dark; --text: #1c2330; --soft: #667085; --line: #dfe3ea;
  --own: #2f6db5; --stock: #b0722a; --attention: #667085; }
@media (prefers-color-scheme: dark) {
svg { --text: #e6e9ef; --soft: #98a2b3; --line: #333b49; --own: #6ea8e8; --stock: #e0a45c; --attention: #98a2b3; } }
text { font: 12.5px system-ui, sans-serif; fill: var(--soft); } .title { font-weight: 600; fill: var(--text); }
.grid { stroke: var(--line); } path { fill: none; stroke-width: 2; }
</style>"""


def growth_plot(growth: Mapping[str, Sequence[float]], title: str) -> str:
    """Seconds against chunks, a line for each of ``growth`` (seconds since the start after each chunk)."""
    chunks = max(map(len, growth.values()))
    most = max(max(values) for values in growth.values())

    def x(chunk: float) -> float:
        return _LEFT + chunk / chunks * (_WIDTH - _LEFT - _RIGHT)

    def y(seconds: float) -> float:
        return _HEIGHT - _BOTTOM - seconds / most * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text class="title" x="{_LEFT}" y="18">{escape(title)}</text>']
    for share in (0, 0.25, 0.5, 0.75, 1):
        seconds, chunk = share * most, share * chunks
        parts += [
            f'<path class="grid" d="M{x(0):.1f} {y(seconds):.1f}H{x(chunks):.1f}" style="stroke-width: 1"/>',
            f'<text x="{x(0) - 8:.1f}" y="{y(seconds) + 4:.1f}" text-anchor="end">{seconds:.3g} s</text>',
            f'<text x="{x(chunk):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{chunk:.0f}</text>',
        ]
    labels = _apart([y(values[-1]) for values in growth.values()])
    for (name, values), label_y in zip(growth.items(), labels, strict=True):
        line = "".join(f"L{x(number + 1):.1f} {y(seconds):.1f}" for number, seconds in enumerate(values))
        parts += [
            f'<path d="M{x(0):.1f} {y(0):.1f}{line}" style="stroke: var(--{name})"/>',
            f'<text x="{x(chunks) + 8:.1f}" y="{label_y + 4:.1f}" style="fill: var(--{name})">{_NAMES[name]}</text>',
        ]
    parts.append(f'<text x="{x(chunks / 2):.1f}" y="{_HEIGHT - 6}" text-anchor="middle">chunks of video</text>')
    size = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{_STYLE}{"".join(parts)}</svg>\n'


def _apart(heights: Sequence[float], least: float = 16) -> list[float]:
    """The same heights, moved up where labels would stand on one another."""
    moved = list(heights)
    order = sorted(range(len(moved)), key=lambda number: -moved[number])
    for below, above in itertools.pairwise(order):
        moved[above] = min(moved[above], moved[below] - least)
    return moved
