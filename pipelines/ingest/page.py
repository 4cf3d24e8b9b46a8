"""A run's report as one HTML page that needs nothing else: styles and plots are in it, scripts there are none.

Names and messages come out of strangers' files. The template escapes everything, and a content security policy
forbids the page to run or load anything, so that a mistake in the former would do no harm either.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipelines.ingest import plots
from pipelines.ingest.lines import printable
from pipelines.ingest.summary import clock, size

# The page stays a page; all of them are in the JSON report.
_MOST_ROWS = 500


def render(report: Mapping[str, Any]) -> str:
    """The page of what :func:`~pipelines.ingest.report.run_report` returned."""
    environment = Environment(
        loader=PackageLoader("pipelines.ingest"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clock": clock, "size": size, "moment": _moment, "printable": printable, "flat": _flat}
    throughput = report["throughput"]
    return environment.get_template("report.html.j2").render(
        report=report,
        most_rows=_MOST_ROWS,
        width=plots.WIDTH,
        outcomes=", ".join(f"{count} {status}" for status, count in report["totals"]["by_status"].items()),
        stages=plots.bars(list(report["stages_s"].items()), _seconds),
        slowest=plots.bars([(printable(row["name"]), row["work_s"]) for row in report["slowest"]], _seconds),
        failures=plots.bars([(kind["error_type"], kind["videos"]) for kind in report["failures"]], str),
        throughput=plots.steps(throughput["video_hours_per_hour"], throughput["step_s"], report["wall_s"], clock),
    )


def _seconds(value: float) -> str:
    return f"{value:.2g} s" if value < 10 else clock(value)


def _moment(text: str | None) -> str:
    """An ISO 8601 time in UTC, to be read."""
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S UTC") if text else "–"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as lines: ``sampling.fps``."""
    lines: list[tuple[str, Any]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{prefix}{name}.")
        else:
            lines.append((f"{prefix}{name}", "default" if value is None else value))
    return lines
