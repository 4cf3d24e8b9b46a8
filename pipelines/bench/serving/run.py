"""The whole benchmark: both models in this process, then the service."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.bench.codecs import one_thread
from pipelines.bench.random_archive import write_larger_model, write_videos
from pipelines.bench.serving.engine import ANSWER_TOKENS, ASKERS, first_tokens, measure_together
from pipelines.bench.serving.load import Order, run_load
from pipelines.bench.serving.report import ModelFigures, ServingFigures
from pipelines.bench.serving.service import (
    body,
    engine_process,
    measure_askers,
    measure_overhead,
    measure_zipf,
)
from pipelines.serve import ServiceConfig, running_service
from videox2l.errors import ConfigError
from videox2l.models import load_model
from videox2l.store import Archive

Progress = Callable[[str], None]

# Of the archive's bytes at each level: what a cache for the videos that are asked most would be given.
CACHE_SHARE = 0.05

# Of the videos that each model is asked about.
_CHUNKS = 24


def bench_serving(
    *,
    videos: int,
    minutes: float,
    questions: int,
    repeats: int,
    progress: Progress,
    seconds: float | None = None,
    flame: Path | None = None,
) -> ServingFigures:
    """Measure in temporary folders. Ray is started and ended.

    :param minutes: length of each video, at one frame a second.
    :param questions: at most so many about all videos; ``seconds``: and for so long at most.
    :param flame: where a flame graph of the larger model's engine, asked again and again, is to be written.
    :raises ConfigError: a flame graph without py-spy.
    """
    if flame is not None and shutil.which("py-spy") is None:
        raise ConfigError("a flame graph takes py-spy: pip install 'videox2l[profile]'")
    with tempfile.TemporaryDirectory(prefix="videox2l-bench-") as name, one_thread():
        folder = Path(name)
        sources = {"tiny": "tiny", "larger": str(write_larger_model(folder / "larger"))}
        figures = tuple(
            _measure_model(label, source, folder, repeats, flame if label == "larger" else None, progress)
            for label, source in sources.items()
        )
        progress(f"writing {videos} videos")
        model = load_model("tiny", device="cpu")
        archive = Archive.open(folder / "many", create=True)
        chunks = max(3, round(minutes * 60 / model.default_compression.frames_per_chunk))
        ids = write_videos(archive, model, videos, chunks)
        totals = archive.open_index(ids[0]).manifest.totals
        budget = {level: int(CACHE_SHARE * videos * totals[level].bytes) for level in ("high", "low")}
        settings: dict[str, Any] = {
            "resident_bytes": budget["high"],
            "low_memory_bytes": budget["low"],
            "mixed_bytes": budget["high"],
        }
        with running_service(archive.url, "tiny", **settings) as url:
            progress("asking one question at a time")
            config = ServiceConfig(archive_url=archive.url, model="tiny", **settings)
            overhead = measure_overhead(url, "tiny", config, ids[0], repeats)
            progress(f"asking {questions} questions about {videos} videos")
            zipf = measure_zipf(url, "tiny", ids, questions, seconds, askers=8, share=CACHE_SHARE)
    return ServingFigures(figures, overhead, zipf, chunks)


def _measure_model(
    label: str, source: str, folder: Path, repeats: int, flame: Path | None, progress: Progress
) -> ModelFigures:
    progress(f"{label}: in process")
    model = load_model(source, device="cpu")
    archive = Archive.open(folder / f"archive-{label}", create=True)
    ids = write_videos(archive, model, ASKERS, _CHUNKS)
    readers = [archive.open_index(video_id) for video_id in ids]
    first = first_tokens(model, readers[0], 10 * repeats)
    together = {
        "about one video": measure_together(model, readers[:1], repeats),
        f"about {ASKERS} videos": measure_together(model, readers, repeats),
    }
    progress(f"{label}: over HTTP")
    with running_service(archive.url, source, model_name=label) as url:
        together["over HTTP"] = measure_askers(url, label, ids[:1], ASKERS, ANSWER_TOKENS, repeats)
        if flame is not None:
            _draw_flame(url, label, ids[0], flame)
    return ModelFigures(label, model.geometry.dtype, _CHUNKS, first, together)


def _draw_flame(url: str, name: str, video: str, path: Path) -> None:
    """One request, asked again and again while py-spy looks on."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            run_load(Order(url, 1, [body(name, video, f"{n}: what happens?", 32) for n in range(10)]))

    asker = threading.Thread(target=ask)
    asker.start()
    command = ["py-spy", "record", "--pid", str(engine_process().pid), "--duration", "10", "--output", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        raise ConfigError(f"py-spy cannot look into the engine: {error.stderr.decode()[-300:]}") from error
    finally:
        stop.set()
        asker.join()
