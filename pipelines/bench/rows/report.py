"""What a run found: one row a part and case, as tables and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from pipelines.bench.rows.timing import Times
from videox2l.errors import ConfigError

_TORCH = str(torch.__version__)


@dataclass(frozen=True)
class Setup:
    """What rows were measured on. ``model``: its name, or a size. ``threads``: PyTorch's, of each process that holds
    the model. ``processors``: of the machine."""

    model: str
    device: str
    dtype: str
    threads: int
    processors: int = field(default_factory=lambda: os.cpu_count() or 1)

    def __str__(self) -> str:
        return f"{self.model}, {self.dtype} on {self.device}, threads: {self.threads} on {self.processors} processors"


@dataclass(frozen=True)
class Row:
    """A part of the system beside its bound.

    ``seconds`` and ``bound_s`` are medians; ``ratio`` is the median of what was measured in turn, so not exactly their
    quotient. ``bound`` says what it is; ``target``: the ratio that this part is to stay below, where there is one.
    ``peak_bytes``: as of :func:`~pipelines.bench.rows.peak_memory.peak_bytes`, or of all processes together where
    several share the work. ``more``: other figures, by what they are.
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


def row_of(
    times: Times,
    *,
    part: str,
    case: str,
    chunks: int,
    bound: str,
    way: int = 1,
    target: float | None = None,
    more: Mapping[str, float] | None = None,
) -> Row:
    """The first of the ways in ``times``, held against another of them, which is the ``bound``."""
    return Row(
        part=part,
        case=case,
        chunks=chunks,
        seconds=times.median(),
        bound=bound,
        bound_s=times.median(way),
        ratio=times.ratio(way),
        target=target,
        peak_bytes=times.peak,
        more=more or {},
    )


@dataclass(frozen=True)
class Section:
    """Rows of one setup."""

    setup: Setup
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Report:
    """All rows of a run. ``details``: what else a part tells, by part, as plain JSON types."""

    sections: tuple[Section, ...]
    details: Mapping[str, Any] = field(default_factory=dict)
    torch: str = _TORCH

    @property
    def rows(self) -> tuple[Row, ...]:
        """Of all sections."""
        return tuple(row for section in self.sections for row in section.rows)

    def to_json(self) -> str:
        """One document."""
        return json.dumps(asdict(self), indent=1)


def join(reports: Iterable[Report]) -> Report:
    """One report with all rows, those of equal setups in one section."""
    rows: dict[Setup, tuple[Row, ...]] = {}
    details: dict[str, Any] = {}
    for report in reports:
        for section in report.sections:
            rows[section.setup] = rows.get(section.setup, ()) + section.rows
        details |= report.details
    return Report(tuple(Section(setup, found) for setup, found in rows.items()), details)


def load_report(path: Path) -> Report:
    """What :meth:`Report.to_json` gave.

    :raises ConfigError: the file holds no such thing.
    """
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
        sections = tuple(
            Section(Setup(**section["setup"]), tuple(Row(**row) for row in section["rows"]))
            for section in raw.pop("sections")
        )
        return Report(sections, **raw)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} holds no figures of `videox2l bench … --save`: {error}") from error


def tables(report: Report) -> Iterator[Table]:
    """For people: one table a setup."""
    for section in report.sections:
        title = (
            f"{section.setup}, PyTorch {report.torch}\n"
            "ratio: time over bound, both of this run; target: what it is to stay below"
        )
        shown = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1))
        for heading in ("part", "case", "ms", "bound, ms", "ratio", "target", "peak MiB", "what the bound is"):
            shown.add_column(heading, justify="left" if heading in ("part", "case", "what the bound is") else "right")
        for row in section.rows:
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
        yield shown


def _ratio(row: Row) -> str:
    text = f"{row.ratio:.2f}"
    return f"[red]{text}[/]" if row.target is not None and row.ratio > row.target else text


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.3g}" if seconds < 0.1 else f"{seconds * 1000:,.0f}"
