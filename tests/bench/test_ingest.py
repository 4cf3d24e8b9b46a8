"""``videox2l bench ingest``: its sums, and one small run on a real cluster."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipelines.bench.bare import BareWork
from pipelines.bench.ingest import bench_ingest, report
from pipelines.bench.ingest_tables import tables
from pipelines.bench.process_memory import MemorySampler
from pipelines.ingest import IngestRow, IngestSettings
from tests.ray_cluster import ray_cluster

__all__ = ["ray_cluster"]

STAGES = {"identify", "plan", "wait", "vision", "low", "high", "store", "commit"}


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
    bare = BareWork(first=0.5, plan=1.5, decode=6, prefill=8, on_gpu=False)
    found = report(rows, began=100, decode_s=4.0, memory=MemorySampler(), bare=bare)

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
    bare = BareWork(first=1, plan=2, decode=6, prefill=8, on_gpu=False)
    assert bare.least_s(actors=1, cpus=2) == 1 + 8  # one actor's prefill takes longest
    assert bare.least_s(actors=2, cpus=2) == 1 + 7.5  # two are held up by all that two processors have to do
    on_gpu = BareWork(first=1, plan=2, decode=6, prefill=3, on_gpu=True)
    assert on_gpu.least_s(actors=1, cpus=2) == 1 + 3.5  # there the processors only plan and decode


def test_a_real_run(ray_cluster: None) -> None:
    found = bench_ingest(IngestSettings(device="cpu"), videos=2, hours=None, progress=[].append, repeats=1)

    assert (found.videos, found.chunks) == (2, 24)
    assert set(found.stage_s) == STAGES | {"decode"}
    assert min(found.stage_s.values()) > 0
    assert sum(actor.videos for actor in found.actors) == 2
    assert found.ratio > 1
    assert min(found.bare.plan, found.bare.decode, found.bare.prefill) > 0
    assert found.bare_ratio > 1
    assert found.peak_bytes >= max(found.peak_bytes_by_kind.values()) > 0
    console = Console(width=120, file=io.StringIO(), record=True)
    for table in tables(found):
        console.print(table)
    assert "critical path" in console.export_text()
