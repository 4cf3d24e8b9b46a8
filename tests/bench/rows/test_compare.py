"""One run against another: what is compared, what has become worse, and what is refused."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from pipelines.bench.rows import Report, Setup, change_table, compare, join
from tests.bench.rows.samples import SMALL, report, row
from videox2l.errors import ConfigError

TINY = dataclasses.replace(SMALL, model="tiny", threads=1)
LARGER = dataclasses.replace(TINY, model="larger")


def test_ratios_are_compared_and_times_are_not() -> None:
    before = report(row("mix", "24 chunks", 1.2), row("mix", "96 chunks", 1.2), row("store", "gone", 1.0))
    slower = dataclasses.replace(row("mix", "24 chunks", 1.25), seconds=30.0)
    now = report(slower, row("mix", "96 chunks", 1.6), row("decode", "new", 9.0))
    assert [(change.case, change.worse) for change in compare(before, now)] == [
        ("24 chunks", False),
        ("96 chunks", True),
    ]
    assert not any(change.worse for change in compare(before, now, tolerance=0.5))


def test_equal_cases_of_two_models_are_told_apart() -> None:
    def served(tiny: float, larger: float) -> Report:
        return join(report(row("serve", "x", ratio), setup=on) for on, ratio in ((TINY, tiny), (LARGER, larger)))

    changes = compare(served(1.0, 2.0), served(1.0, 3.0))
    assert [(change.model, change.before, change.now, change.worse) for change in changes] == [
        ("tiny", 1.0, 1.0, False),
        ("larger", 2.0, 3.0, True),
    ]
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(change_table(changes, 0.25))
    assert "+50%" in console.export_text()


def test_one_part_is_compared_with_a_run_of_all() -> None:
    everything = join([report(row("mix")), report(row("ingest", "6 clips", 1.5), setup=TINY)])
    assert [change.part for change in compare(everything, report(row("ingest", "6 clips", 1.5), setup=TINY))] == [
        "ingest"
    ]


@pytest.mark.parametrize(
    "setup",
    [
        dataclasses.replace(SMALL, **{name: value})  # type: ignore[arg-type]
        for name, value in {
            "model": "tiny",
            "device": "NVIDIA H100",
            "dtype": "bfloat16",
            "threads": 1,
            "processors": 8,
        }.items()
    ],
    ids=str,
)
def test_parts_on_other_setups_cannot_be_compared(setup: Setup) -> None:
    also = report(row("store"))  # which could be compared
    with pytest.raises(ConfigError, match=r"mix was measured on small, float32 on cpu.*, and is on .* now"):
        compare(join([report(row()), also]), join([report(row(), setup=setup), also]))


def test_runs_without_a_common_row_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="no part and case"):
        compare(report(row()), report(row("store")))
