"""What a run found: one row a part and case, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from videox2l.errors import ConfigError


@dataclass(frozen=True)
class Row:
    """A part of the system beside its bound.

    ``seconds`` and ``bound_s`` are medians; ``ratio`` is the median of what was measured in turn, so not exactly their
    quotient. ``bound`` says what it is; ``target``: the ratio that this part is to stay below, where there is one.
    ``peak_bytes``: as of :func:`~pipelines.bench.peak_memory.peak_bytes`. ``more``: other figures, by what they are.
    """

    part: str
    case: str
    chunks: int
    seconds: float
    bound: str
    bound_s: float
    ratio: float
    target: float | None = None
    peak_bytes: int | None = None
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """All rows of a run and what it ran on. ``threads``: PyTorch's, on the host.

    ``growth``: seconds of a prefill and of its bound after each chunk of the longest video.
    """

    size: str
    device: str
    dtype: str
    threads: int
    torch: str
    rows: tuple[Row, ...]
    growth: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def to_json(self) -> str:
        """One document."""
        return json.dumps(asdict(self), indent=1)


def load_report(path: Path) -> Report:
    """What :meth:`Report.to_json` gave.

    :raises ConfigError: the file holds no such thing.
    """
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
        rows = tuple(Row(**row) for row in raw.pop("rows"))
        growth = {name: tuple(values) for name, values in raw.pop("growth").items()}
        return Report(**raw, rows=rows, growth=growth)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} holds no figures of `videox2l bench … --json`: {error}") from error


def table(report: Report) -> Table:
    """For people."""
    title = (
        f"{report.size}, {report.dtype} on {report.device}, {report.threads} threads, PyTorch {report.torch}\n"
        "ratio: time over bound, measured in turn; target: what it is to stay below"
    )
    shown = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1))
    for heading in ("part", "case", "ms", "bound, ms", "ratio", "target", "peak MiB", "what the bound is"):
        shown.add_column(heading, justify="left" if heading in ("part", "case", "what the bound is") else "right")
    for row in report.rows:
        shown.add_row(
            row.part,
            row.case,
            _milliseconds(row.seconds),
            _milliseconds(row.bound_s),
            _ratio(row),
            "" if row.target is None else f"{row.target:.2f}",
            "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:,.0f}",
            "; ".join([row.bound, *(f"{name} {value:,.3g}" for name, value in row.more.items())]),
        )
    return shown


def _ratio(row: Row) -> str:
    text = f"{row.ratio:.2f}"
    return f"[red]{text}[/]" if row.target is not None and row.ratio > row.target else text


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.3g}" if seconds < 0.1 else f"{seconds * 1000:,.0f}"
