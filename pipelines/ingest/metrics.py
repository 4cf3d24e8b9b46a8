"""What an ingest tells Prometheus, through Ray's metrics endpoints.

Everything is counted in the driver, from the events of the job: a task that Ray repeats on another machine reports its
chunks again, and counting where the work is done would count them twice. Ray puts ``ray_`` before each name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from ray.util.metrics import Counter, Gauge

from pipelines.ingest.events import Event, RowFinished, VideoStarted
from pipelines.ingest.rows import IngestRow
from pipelines.ingest.tally import Tally


@dataclass(frozen=True)
class Metric:
    """One metric: what kind it is, what it says, and the labels that tell its series apart."""

    kind: Literal["counter", "gauge"]
    description: str
    labels: tuple[str, ...] = ()


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "videox2l_ingest_videos_total": Metric("counter", "Videos that are through, by their outcome.", ("status",)),
        "videox2l_ingest_chunks_total": Metric("counter", "Chunks prefilled; one done again counts once."),
        "videox2l_ingest_video_seconds_total": Metric("counter", "Seconds of video prefilled."),
        "videox2l_ingest_stage_seconds_total": Metric(
            "counter", "Seconds that finished videos have spent in each stage.", ("stage",)
        ),
        "videox2l_ingest_bytes_total": Metric("counter", "Bytes of KVs committed, by level.", ("level",)),
        "videox2l_ingest_retries_total": Metric("counter", "Videos that were begun again, by the cause.", ("cause",)),
        "videox2l_ingest_videos_waiting": Metric("gauge", "Videos that no worker has taken on yet."),
    }
)
"""All metrics of an ingest by name, without the prefix ``ray_`` that Ray exports them with."""


class IngestMetrics:
    """Counts every event it is called with. Made when Ray is connected; what it counts ends with this process."""

    def __init__(self) -> None:
        self._made = {name: _make(name, metric) for name, metric in METRICS.items()}
        self._tally = Tally()
        self._begun: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        chunks, video_s = self._tally.prefilled_chunks, self._tally.prefilled_s
        self._tally.hear(event)
        self._add("chunks_total", self._tally.prefilled_chunks - chunks)
        self._add("video_seconds_total", self._tally.prefilled_s - video_s)
        match event:
            case VideoStarted(source):
                # Only a process that was lost makes Ray hand its video out again.
                self._add("retries_total", int(source in self._begun), cause="worker_lost")
                self._begun.add(source)
            case RowFinished(row):
                self._finish(row)
        self._made[_name("videos_waiting")].set(self._tally.waiting)

    def _finish(self, row: IngestRow) -> None:
        self._add("videos_total", 1, status=row.status)
        for stage, seconds in row.seconds.items():
            self._add("stage_seconds_total", seconds, stage=stage)
        if row.status == "committed":
            self._add("bytes_total", row.low_bytes, level="low")
            self._add("bytes_total", row.high_bytes, level="high")

    def _add(self, metric: str, amount: float, **labels: str) -> None:
        if amount > 0:
            self._made[_name(metric)].inc(amount, labels)


def _name(metric: str) -> str:
    return f"videox2l_ingest_{metric}"


def _make(name: str, metric: Metric) -> Any:
    kind = Counter if metric.kind == "counter" else Gauge
    return kind(name, metric.description, tag_keys=metric.labels)
