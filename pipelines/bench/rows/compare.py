"""One run against an earlier one: by their ratios, since times are of a machine and a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from pipelines.bench.rows.report import Report, Row, Setup
from videox2l.errors import ConfigError

TOLERANCE = 0.25
"""By how much a ratio may be above the earlier one: what two runs on a shared machine differ by anyway."""


@dataclass(frozen=True)
class Change:
    """A case's ratio then and now."""

    model: str
    part: str
    case: str
    before: float
    now: float
    worse: bool


def compare(before: Report, now: Report, tolerance: float = TOLERANCE) -> list[Change]:
    """Rows that both runs have; ``worse`` where a ratio has grown by more than the share ``tolerance``.

    :raises ConfigError: a part that both have ran on another model, dtype, kind of device or number of threads or
        processors; or they have no row in common.
    """
    then, today = _setups(before), _setups(now)
    for part, setups in today.items():
        if part in then and then[part] != setups:
            raise ConfigError(
                f"these runs cannot be compared: {part} was measured on {_names(then[part])}, "
                f"and is on {_names(setups)} now"
            )
    earlier = _keyed(before)
    both = [(key, earlier[key], row) for key, row in _keyed(now).items() if key in earlier]
    if not both:
        raise ConfigError("these runs cannot be compared: they have no part and case in common")
    return [
        Change(setup.model, part, case, old.ratio, row.ratio, row.ratio > old.ratio * (1 + tolerance))
        for (setup, part, case), old, row in both
    ]


def change_table(changes: Sequence[Change], tolerance: float) -> Table:
    """For people; what has become worse is red."""
    title = f"Ratios against the earlier run; worse: grown by more than {tolerance:.0%}"
    shown = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1))
    words = ("model", "part", "case")
    for heading in (*words, "before", "now", "change"):
        shown.add_column(heading, justify="left" if heading in words else "right")
    for one in changes:
        figures = (f"{one.before:.2f}", f"{one.now:.2f}", f"{one.now / one.before - 1:+.0%}")
        shown.add_row(one.model, one.part, one.case, *figures, style="red" if one.worse else None)
    return shown


def _setups(report: Report) -> dict[str, set[Setup]]:
    """What each part was measured on."""
    found: dict[str, set[Setup]] = {}
    for section in report.sections:
        for row in section.rows:
            found.setdefault(row.part, set()).add(section.setup)
    return found


def _names(setups: set[Setup]) -> str:
    return "; ".join(sorted(map(str, setups)))


def _keyed(report: Report) -> dict[tuple[Setup, str, str], Row]:
    return {(section.setup, row.part, row.case): row for section in report.sections for row in section.rows}
