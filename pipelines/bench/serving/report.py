"""The figures of ``videox2l bench serve``: as JSON, as tables, and latencies as an SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from pipelines.bench.serving.engine import ASKERS, FirstToken, Together
from pipelines.bench.serving.service import Overhead, Zipf

_WIDTH, _HEIGHT, _MARGIN = 720, 220, 40


@dataclass(frozen=True)
class ModelFigures:
    """Of one model: the first token; many answers about one video, about :data:`ASKERS` videos, and over HTTP."""

    name: str
    first_token: FirstToken
    one_video: Together
    many_videos: Together
    http: Together


@dataclass(frozen=True)
class ServingReport:
    """All figures of a run."""

    models: tuple[ModelFigures, ...]
    overhead: Overhead
    zipf: Zipf

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def tables(report: ServingReport) -> Iterator[Table]:
    """For people."""
    first = _table("First token of a warm question, ms", "model", "bare model", "chunks named", "", "found", "")
    together = _table(f"Tokens a second, one asker and {ASKERS}", "model", "asked", "one", f"{ASKERS}", "ratio")
    for model in report.models:
        token = model.first_token
        first.add_row(
            model.name,
            f"{token.bare_ms:.1f}",
            f"{token.chosen_ms:.1f}",
            f"{token.chosen_ratio:.2f}x",
            f"{token.scored_ms:.1f}",
            f"{token.scored_ratio:.2f}x",
        )
        ways = {"one video": model.one_video, f"{ASKERS} videos": model.many_videos, "over HTTP": model.http}
        for way, speed in ways.items():
            together.add_row(model.name, way, f"{speed.one:.0f}", f"{speed.many:.0f}", f"{speed.ratio:.1f}x")
    yield first
    yield together
    overhead = _table("A question of one token, ms", "over HTTP", "in process", "added")
    overhead.add_row(*(f"{value:.1f}" for value in asdict(report.overhead).values()))
    yield overhead
    yield _zipf(report.zipf)


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
