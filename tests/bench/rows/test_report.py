"""Rows as JSON and as tables."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.bench.rows import Section, join, load_report, tables
from pipelines.bench.rows.report import row_of
from pipelines.bench.rows.timing import Times
from tests.bench.rows.samples import SMALL, report, row
from videox2l.errors import ConfigError

TINY = dataclasses.replace(SMALL, model="tiny")


def test_json_holds_everything(tmp_path: Path) -> None:
    made = dataclasses.replace(report(row(), row("store")), details={"prefill": {"own": [1.0, 2.5]}})
    (tmp_path / "figures.json").write_text(made.to_json())
    assert load_report(tmp_path / "figures.json") == made


@pytest.mark.parametrize("text", ['{"rows": 3}', "[]", "no JSON", '{"sections": [{"setup": {}, "rows": []}]}'])
def test_what_is_no_report_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ConfigError, match=r"other\.json holds no figures"):
        load_report(tmp_path / "other.json")


def test_rows_of_equal_setups_are_joined() -> None:
    parts = [report(row("mix")), report(row("ingest"), setup=TINY), report(row("store"))]
    joined = join([dataclasses.replace(parts[0], details={"mix": 1}), *parts[1:]])
    assert joined.sections == (Section(SMALL, (row("mix"), row("store"))), Section(TINY, (row("ingest"),)))
    assert joined.details == {"mix": 1}


def test_a_row_holds_the_first_way_against_another() -> None:
    times = Times(((2.0, 4.0, 3.0), (1.0, 1.0, 3.0), (8.0, 8.0, 6.0)), peak=7)
    found = row_of(times, part="serve", case="together", chunks=24, bound="one by one", way=2)
    assert (found.seconds, found.bound_s, found.ratio, found.peak_bytes) == (3.0, 8.0, 0.5, 7)
    assert row_of(times, part="serve", case="together", chunks=24, bound="a batch").ratio == 2.0


def test_tables_say_what_was_measured_on_what() -> None:
    missed = dataclasses.replace(row("prefill", ratio=1.5), target=1.25, peak_bytes=512 * 2**20)
    console = Console(width=200, file=io.StringIO(), record=True)
    for table in tables(join([report(missed), report(row("ingest"), setup=TINY)])):
        console.print(table)
    shown = console.export_text().splitlines()
    assert [line.split(",")[0] for line in shown if "PyTorch" in line] == ["small", "tiny"]
    (line,) = [line for line in shown if line.strip().startswith("prefill")]
    assert line.split() == ["prefill", "24", "chunks", "3", "2.5", "1.50", "1.25", "512", "one", "copy;", "MB", "3"]
