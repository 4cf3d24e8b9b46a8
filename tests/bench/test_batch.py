"""``videox2l bench batch`` at its smallest, and what becomes of its figures: saved, compared, refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.bench.batch import BatchFigures, report, table
from pipelines.bench.rows import load_report
from pipelines.bench.rows.timing import Times
from pipelines.cli import output
from pipelines.cli.bench import bench
from tests.ray_cluster import ray_cluster
from videox2l.errors import ConfigError

__all__ = ["ray_cluster"]

ARGUMENTS = ["batch", "--videos", "1", "--questions", "3", "--max-new-tokens", "2", "--repeats", "1"]


def test_rows_and_the_table() -> None:
    ready, whole = Times(((2.0,), (8.0,)), peak=5), Times(((6.0,), (8.0,)), peak=5)
    found = BatchFigures("tiny", "float32", 1, 32, 64, 4, 384, 3.0, ready, whole, 384)
    (section,) = report(found).sections
    assert [(row.seconds, row.bound_s, row.ratio, row.peak_bytes) for row in section.rows] == [
        (2, 8, 0.25, 5),
        (6, 8, 0.75, 5),
    ]
    console = output.console()
    with console.capture() as shown:
        console.print(table(found))
    lines = [line.split() for line in shown.get().splitlines()]
    assert [line[-2:] for line in lines if line[-1].endswith("x")] == [["192.0", "4.00x"], ["64.0", "1.33x"]]


def test_a_real_run_saved_and_compared(ray_cluster: None, tmp_path: Path) -> None:
    saved, better = tmp_path / "saved.json", tmp_path / "better.json"
    first = CliRunner().invoke(bench, [*ARGUMENTS, "--save", str(saved), "--json"], catch_exceptions=False)
    assert first.exit_code == 0
    assert json.loads(first.stdout) == json.loads(saved.read_text())
    found = load_report(saved)
    assert found.details["batch"]["same_answers"] == found.details["batch"]["questions"] == 3
    ready, whole = found.rows
    assert ready.seconds < whole.seconds
    assert whole.peak_bytes is not None

    document = json.loads(saved.read_text())
    document["sections"][0]["rows"][0]["ratio"] = 1e-9
    document["sections"][0]["rows"][1]["ratio"] = 1e9
    better.write_text(json.dumps(document))
    worse = CliRunner().invoke(bench, [*ARGUMENTS, "--compare", str(better)])
    assert worse.exit_code == 1
    assert "-100%" in worse.stdout


def test_what_would_fail_at_the_end_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[]")
    for option, message in {
        f"--compare={tmp_path / 'other.json'}": "holds no figures",
        f"--save={tmp_path / 'nowhere' / 'new.json'}": "there is no folder .*nowhere",
    }.items():
        with pytest.raises(ConfigError, match=message):
            CliRunner().invoke(bench, [*ARGUMENTS, option], catch_exceptions=False)
