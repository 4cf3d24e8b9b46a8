"""The figures of ``videox2l bench serve``: as tables, and latencies as an SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from pipelines.bench.rows.timing import Times
from pipelines.bench.serving.engine import ASKERS
from pipelines.bench.serving.service import Zipf

_WIDTH, _HEIGHT, _MARGIN = 720, 220, 40


@dataclass(frozen=True)
class ModelFigures:
    """Of one model, about videos of ``chunks``.

    ``first_tokens``: of :func:`~pipelines.bench.serving.engine.first_tokens`. ``together``: seconds a token of
    :data:`ASKERS` and of one, in this process by what they ask about, and ``over HTTP``.
    """

    name: str
    dtype: str
    chunks: int
    first_tokens: Mapping[str, Times]
    together: Mapping[str, Times]


@dataclass(frozen=True)
class ServingFigures:
    """All figures of a run.

    ``overhead``: of :func:`~pipelines.bench.serving.service.measure_overhead`, about one of the videos of ``zipf``,
    which have ``zipf_chunks`` each.
    """

    models: tuple[ModelFigures, ...]
    overhead: Times
    zipf: Zipf
    zipf_chunks: int

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def tables(figures: ServingFigures) -> Iterator[Table]:
    """For people."""
    first = _table("First token of a warm question, ms", "model", "", "bare model", "engine", "ratio")
    together = _table(
        f"Tokens a second, one asker and {ASKERS}", "model", "asked", "one", f"{ASKERS}", "ratio", "stock model's batch"
    )
    for model in figures.models:
        for how, times in model.first_tokens.items():
            bare, own = f"{times.median(1) * 1000:.1f}", f"{times.median() * 1000:.1f}"
            first.add_row(model.name, how, bare, own, f"{times.ratio():.2f}x")
        for how, times in model.together.items():
            many, one, *stock = (f"{1 / times.median(way):.0f}" for way in range(len(times.seconds)))
            together.add_row(model.name, how, one, many, f"{1 / times.ratio():.1f}x", *stock)
    yield first
    yield together
    overhead = _table("A question of one token, ms", "over HTTP", "in process", "added")
    http, process = (figures.overhead.median(way) * 1000 for way in (0, 1))
    overhead.add_row(*(f"{value:.1f}" for value in (http, process, http - process)))
    yield overhead
    yield _zipf(figures.zipf)


def histogram(latencies_ms: Sequence[float], title: str) -> str:
    """An SVG of how many questions took how long, on a logarithmic axis of milliseconds."""
    low, high = (math.log10(max(value, 0.1)) for value in (min(latencies_ms), max(latencies_ms)))
    bins = 48
    counts = [0] * bins
    for value in latencies_ms:
        place = (math.log10(max(value, 0.1)) - low) / ((high - low) or 1.0)
        counts[min(bins - 1, int(place * bins))] += 1
    step, base = (_WIDTH - 2 * _MARGIN) / bins, _HEIGHT - _MARGIN
    tallest = max(counts)
    bars = "".join(
        f'<rect x="{_MARGIN + number * step:.1f}" y="{base - count / tallest * (base - _MARGIN):.1f}" '
        f'width="{step - 1:.1f}" height="{count / tallest * (base - _MARGIN):.1f}"/>'
        for number, count in enumerate(counts)
    )
    ticks = "".join(
        f'<text x="{_MARGIN + part * bins * step:.1f}" y="{base + 18}" text-anchor="middle">'
        f"{10 ** (low + part * (high - low)):.3g}</text>"
        for part in (0, 0.25, 0.5, 0.75, 1)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/><text x="{_MARGIN}" y="22">{title}</text>'
        f'<g fill="#3b6ea8">{bars}</g>{ticks}<text x="{_WIDTH / 2}" y="{_HEIGHT - 4}" text-anchor="middle">ms</text>'
        "</svg>\n"
    )


def _zipf(zipf: Zipf) -> Table:
    title = f"{zipf.questions} questions about {zipf.videos} videos, caches for {zipf.cache_share:.0%} of their bytes"
    table = _table(title, "figure", "")
    origins = {
        f"{level} bytes from {origin}": f"{size / 2**20:.1f} MiB"
        for level, sizes in zipf.bytes_from.items()
        for origin, size in sizes.items()
    }
    rows = {
        "video resident": f"{zipf.hit_ratio:.0%}",
        "low KVs in memory": f"{zipf.low_hit_ratio:.0%}",
        "first text, p50 / p99": f"{zipf.first_p50_ms:.0f} / {zipf.first_p99_ms:.0f} ms",
        "whole answer, p50 / p99": f"{zipf.p50_ms:.0f} / {zipf.p99_ms:.0f} ms",
        "questions a second": f"{zipf.questions / zipf.seconds:.1f}",
        "failed": str(zipf.failed),
        **origins,
        "engine's memory over the run": " ".join(f"{mib:.0f}" for mib in zipf.memory_mib) + " MiB",
        "growth": f"{zipf.growth_mib_per_minute:+.2f} MiB/min",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 else "right")
    return table
