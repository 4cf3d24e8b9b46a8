"""``videox2l bench ingest``: its sums, and one small run on a real cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.bench.ingest.bare import BareWork
from pipelines.bench.ingest.rows import report
from pipelines.bench.ingest.run import figures
from pipelines.bench.rows import Setup, load_report
from pipelines.bench.rows.process_memory import MemorySampler
from pipelines.cli.bench import bench
from pipelines.ingest import IngestRow
from tests.bench.rows import samples
from tests.ray_cluster import ray_cluster

__all__ = ["ray_cluster"]

STAGES = {"identify", "plan", "wait", "vision", "low", "high", "store", "commit"}

PLACE: dict[str, Any] = {"model": "tiny", "device": "cpu", "dtype": "float32", "threads": 1}


def row(name: str, worker: str, began: float, ended: float, **seconds: float) -> IngestRow:
    stages = dict.fromkeys(STAGES, 0.0) | seconds
    return IngestRow(
        name, "committed", duration_s=10, chunks=2, seconds=stages, worker=worker, began=began, ended=ended
    )


def test_sums() -> None:
    rows = [
        row("a", "one", 103, 108, identify=0.5, plan=0.5, wait=1, vision=1, low=2, high=1),
        row("b", "one", 110, 113, plan=1, wait=1, vision=1, low=0.5, store=0.5),
        row("c", "two", 104, 112, plan=1, wait=6, high=1, commit=1),
    ]
    bare = BareWork(first=0.5, plan=1.5, decode=6, prefill=8, on_gpu=False, **PLACE)
    found = figures(rows, began=100, decode_s=4.0, memory=MemorySampler(), bare=bare)

    assert (found.videos, found.video_s, found.chunks) == (3, 30, 6)
    assert found.start_s == 2  # until the first video's plan, which took a second
    assert found.total_s == 11
    assert found.stage_s["decode"] == 4
    assert found.stage_s["wait"] == 8
    one, two = found.actors
    assert (one.videos, one.window_s, one.busy_s, one.wait_s, one.idle_s) == (2, 10, 6, 2, 2)
    assert (two.videos, two.window_s, two.busy_s, two.wait_s, two.idle_s) == (1, 8, 2, 6, 0)
    assert found.critical_s == 7
    assert found.ratio == pytest.approx(11 / 7)
    assert found.waiting == pytest.approx(8 / 18)


def test_the_least_that_work_takes() -> None:
    bare = BareWork(first=1, plan=2, decode=6, prefill=8, on_gpu=False, **PLACE)
    assert bare.least_s(actors=1, cpus=2) == 1 + 8  # one actor's prefill takes longest
    assert bare.least_s(actors=2, cpus=2) == 1 + 7.5  # two are held up by all that two processors have to do
    on_gpu = BareWork(first=1, plan=2, decode=6, prefill=3, on_gpu=True, **PLACE)
    assert on_gpu.least_s(actors=1, cpus=2) == 1 + 3.5  # there the processors only plan and decode


def test_rows() -> None:
    bare = BareWork(first=1, plan=1, decode=1, prefill=3, on_gpu=False, **PLACE)
    rows = [row("a", "one", 101, 106, plan=1, low=4, wait=1)]
    found = figures(rows, began=100, decode_s=1.0, memory=MemorySampler(), bare=bare, videos_per_actor=4)
    (section,) = report(found).sections
    assert (section.setup.model, section.setup.threads) == ("tiny", 1)
    whole, critical = section.rows
    assert (whole.seconds, whole.bound_s, whole.ratio) == (6, found.least_s, pytest.approx(6 / found.least_s))
    assert (critical.seconds, critical.bound_s, critical.ratio) == (6, 5, pytest.approx(1.2))
    assert "videos of each 4" in whole.case
    assert whole.peak_bytes is None  # nothing was sampled


def test_a_real_run_saved_and_compared(ray_cluster: None, tmp_path: Path) -> None:
    old, saved = tmp_path / "old.json", tmp_path / "saved.json"
    case = "clips 1, chunks 48, actors 1"
    setup = Setup("tiny", "cpu", "float32", threads=1)
    old.write_text(samples.report(samples.row("ingest", case, ratio=1e-9), setup=setup).to_json())
    arguments = ["ingest", "--videos", "1", "--device", "cpu", "--save", str(saved), "--compare", str(old)]
    done = CliRunner().invoke(bench, arguments)
    assert done.exit_code == 1, done.output  # worse than it was
    assert "Ratios against the earlier run" in done.stdout
    assert "critical path" in done.stdout

    found = load_report(saved)
    assert [row.case for row in found.rows] == [case, f"{case}, critical path"]
    assert all(row.ratio > 1 for row in found.rows)
    details = found.details["ingest"]
    assert (details["videos"], details["chunks"]) == (1, 48)
    assert set(details["stage_s"]) == STAGES | {"decode"}
    assert min(details["stage_s"].values()) > 0
    assert min(details["bare"][name] for name in ("plan", "decode", "prefill")) > 0
    assert details["peak_bytes"] >= max(details["peak_bytes_by_kind"].values()) > 0
    assert {row.peak_bytes for row in found.rows} == {details["peak_bytes"]}
