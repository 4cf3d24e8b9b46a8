"""Rows and reports made up, to be shown, saved and compared."""

from __future__ import annotations

from pipelines.bench.rows import Report, Row, Section, Setup

SMALL = Setup("small", "cpu", "float32", threads=2, processors=2)


def row(part: str = "mix", case: str = "24 chunks", ratio: float = 1.2) -> Row:
    return Row(part, case, 24, 0.003, "one copy", 0.0025, ratio, more={"MB": 3.0})


def report(*rows: Row, setup: Setup = SMALL) -> Report:
    return Report((Section(setup, rows),))
