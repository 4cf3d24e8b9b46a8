"""The parts that need Ray, at sizes that end within a quarter of an hour: what ``videox2l bench all --ray`` adds.

Each runs in a new process, so that its memory is its own, and ends the Ray that it has started.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor

from pipelines.bench.batch import bench_batch
from pipelines.bench.batch import report as batch_report
from pipelines.bench.ingest.rows import report as ingest_report
from pipelines.bench.ingest.run import bench_ingest
from pipelines.bench.rows.report import Report
from pipelines.bench.serving.rows import report as serving_report
from pipelines.bench.serving.run import bench_serving
from pipelines.ingest import IngestSettings

Progress = Callable[[str], None]

# An hour and a quarter of video: the first video's plan and the last one's end still weigh little.
_CLIPS = 6


def measure(device: str | None, dtype: str | None, progress: Progress) -> Iterator[Report]:
    """One report a part. The service and batches are measured on CPUs."""
    for part, work in _PARTS.items():
        progress(f"{part}, in a process of its own")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            yield process.submit(work, device, dtype).result()


def _ingest(device: str | None, dtype: str | None) -> Report:
    settings = IngestSettings(device=device, dtype=dtype)
    return ingest_report(bench_ingest(settings, videos=_CLIPS, hours=None, progress=_silent))


def _serve(*_: str | None) -> Report:
    return serving_report(bench_serving(videos=20, minutes=2.0, questions=100, repeats=5, progress=_silent))


def _batch(*_: str | None) -> Report:
    return batch_report(bench_batch(progress=_silent))


def _silent(_: str) -> None:
    """Progress is told by the process that has the terminal."""


_PARTS: Mapping[str, Callable[[str | None, str | None], Report]] = {"ingest": _ingest, "serve": _serve, "batch": _batch}
