"""One run against an earlier one: by their ratios, since times are of a machine and a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from pipelines.bench.bounds.report import Report, Row
from videox2l.errors import ConfigError

TOLERANCE = 0.25
"""By how much a ratio may be above the earlier one: what two runs on a shared machine differ by anyway."""


@dataclass(frozen=True)
class Change:
    """A part's ratio then and now."""

    part: str
    case: str
    before: float
    now: float
    worse: bool


def compare(before: Report, now: Report, tolerance: float = TOLERANCE) -> list[Change]:
    """Rows that both runs have; ``worse`` where a ratio has grown by more than the share ``tolerance``.

    :raises ConfigError: the runs are of different models, dtypes, kinds of device or numbers of threads, or have no row
        in common.
    """
    for name in ("size", "device", "dtype", "threads"):
        then, today = getattr(before, name), getattr(now, name)
        if then != today:
            raise ConfigError(f"these runs cannot be compared: {name} was {then} and is {today} now")
    earlier = {_key(row): row for row in before.rows}
    both = [(earlier[_key(row)], row) for row in now.rows if _key(row) in earlier]
    if not both:
        raise ConfigError("these runs cannot be compared: they have no part and case in common")
    return [
        Change(row.part, row.case, old.ratio, row.ratio, row.ratio > old.ratio * (1 + tolerance)) for old, row in both
    ]


def change_table(changes: Sequence[Change], tolerance: float) -> Table:
    """For people; what has become worse is red."""
    title = f"Ratios against the earlier run; worse: grown by more than {tolerance:.0%}"
    shown = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1))
    for heading in ("part", "case", "before", "now", "change"):
        shown.add_column(heading, justify="left" if heading in ("part", "case") else "right")
    for one in changes:
        style = "red" if one.worse else None
        shown.add_row(
            one.part, one.case, f"{one.before:.2f}", f"{one.now:.2f}", f"{one.now / one.before - 1:+.0%}", style=style
        )
    return shown


def _key(row: Row) -> tuple[str, str]:
    return row.part, row.case
