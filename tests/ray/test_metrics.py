"""What Prometheus reads from Ray's metrics endpoint during an ingest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import ray
import requests
from prometheus_client.parser import text_string_to_metric_families

from pipelines.ingest import (
    ChunkDone,
    Event,
    IngestRow,
    IngestSettings,
    JobStarted,
    RowFinished,
    VideoPlanned,
    VideoStarted,
    ingest,
)
from pipelines.ingest.metrics import METRICS, IngestMetrics
from videox2l.config import CompressionConfig, SamplingConfig

Series = dict[tuple[str, Mapping[str, str]], float]

LABELS = {label for metric in METRICS.values() for label in metric.labels}

# A little more than the pause between two reports of a process, ten seconds.
_REPORTED_S = 12.0

_PATIENCE_S = 120

EVENTS: list[Event] = [
    JobStarted(5),
    VideoPlanned("a", "a", 4, 40.0),
    VideoStarted("a"),
    *(ChunkDone("a", done) for done in (1, 2, 3)),
    # Its process is lost; another one takes it on.
    VideoStarted("a"),
    *(ChunkDone("a", done) for done in (1, 2, 3, 4)),
    RowFinished(IngestRow("a", "committed", low_bytes=800, high_bytes=50, seconds={"plan": 0.5, "wait": 2.0})),
    RowFinished(IngestRow("b", "failed", seconds={"plan": 0.25})),
    VideoStarted("c"),
]
EXPECTED = {
    ("videos_total", "committed"): 1,
    ("videos_total", "failed"): 1,
    ("chunks_total", ""): 4,
    ("video_seconds_total", ""): 40,
    ("stage_seconds_total", "plan"): 0.75,
    ("stage_seconds_total", "wait"): 2,
    ("bytes_total", "low"): 800,
    ("bytes_total", "high"): 50,
    ("retries_total", "worker_lost"): 1,
    ("videos_waiting", ""): 2,
}


def scrape() -> dict[tuple[str, str], float]:
    """Our metrics, summed over processes, by name without its prefix and by the value of their label."""
    [node] = ray.nodes()
    answer = requests.get(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics", timeout=10)
    answer.raise_for_status()
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            if sample.name.removeprefix("ray_") in METRICS:
                label = "".join(value for name, value in sample.labels.items() if name in LABELS)
                key = (sample.name.removeprefix("ray_videox2l_ingest_"), label)
                found[key] = found.get(key, 0) + sample.value
    return found


def settled() -> dict[tuple[str, str], float]:
    """What is there once everything that was counted earlier has arrived: processes report every 10 s."""
    deadline = time.monotonic() + _PATIENCE_S
    found = scrape()
    while True:
        time.sleep(_REPORTED_S)
        if (later := scrape()) == found:
            return found
        assert time.monotonic() < deadline, later
        found = later


def scraped(enough: Callable[[Mapping[tuple[str, str], float]], bool]) -> dict[tuple[str, str], float]:
    """The first scrape that is ``enough``."""
    deadline = time.monotonic() + _PATIENCE_S
    while not enough(found := scrape()):
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    return found


def test_every_metric_reaches_prometheus(ray_cluster: None) -> None:
    before = settled()
    count = IngestMetrics()
    for event in EVENTS:
        count(event)

    def grown(found: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
        gauges = {name for name, metric in METRICS.items() if metric.kind == "gauge"}
        return {
            key: value - (0 if f"videox2l_ingest_{key[0]}" in gauges else before.get(key, 0))
            for key, value in found.items()
            if key in EXPECTED
        }

    # What was counted before leaves rounding behind.
    found = grown(scraped(lambda found: grown(found) == pytest.approx(EXPECTED)))
    assert found == pytest.approx(EXPECTED)
    assert {f"videox2l_ingest_{name}" for name, _ in found} == METRICS.keys()


def test_an_ingest_counts_what_it_does(ray_cluster: None, random_checkpoint: Path, clips: Path, tmp_path: Path) -> None:
    before = settled()
    (tmp_path / "bad.mp4").write_text("not a video")
    sources: Sequence[Path] = [clips / "025.mp4", clips / "065.mp4", tmp_path / "bad.mp4"]
    settings = IngestSettings(
        str(random_checkpoint), "cpu", sampling=SamplingConfig(fps=10), compression=CompressionConfig(2, 8, 10)
    )
    summary = ingest(sources, tmp_path / "archive", settings)
    assert [row.status for row in summary.rows] == ["committed", "committed", "failed"], summary.rows
    expected = {
        ("videos_total", "committed"): 2,
        ("videos_total", "failed"): 1,
        ("chunks_total", ""): 3 + 7,
        ("video_seconds_total", ""): pytest.approx(2.5 + 6.5),
        ("bytes_total", "low"): sum(row.low_bytes for row in summary.rows),
        ("bytes_total", "high"): sum(row.high_bytes for row in summary.rows),
    } | {
        ("stage_seconds_total", stage): pytest.approx(sum(row.seconds.get(stage, 0) for row in summary.rows))
        for stage in {stage for row in summary.rows for stage in row.seconds}
    }
    scraped(lambda found: all(found.get(key, 0) - before.get(key, 0) == value for key, value in expected.items()))
