"""The measurement itself.

A real ingest on this machine: rendered H.264 clips, a Ray cluster, an archive that is deleted afterwards.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.bench.ingest.bare import BareWork, bare_work
from pipelines.bench.ingest.long_clip import repeat
from pipelines.bench.ingest.timed_decode import noted_s, timed_decode
from pipelines.bench.rows.process_memory import MemorySampler
from pipelines.ingest import Event, IngestRow, IngestSettings, ingest
from pipelines.ingest.cluster import ray_cluster
from pipelines.ingest.decode import bytes_in_flight
from videox2l.errors import VideoX2LError
from videox2l.video.synthetic import HELD_OUT_SEED, SECONDS_PER_SCENE, SyntheticClip, render

FIRST_SEED = HELD_OUT_SEED + 40_000

SCENES = (8, 16, 24)
"""Scenes (of 8 seconds) of the clips, in turn: a mix of lengths, because that is what scheduling has to cope with."""

REPEATS = 6
"""A clip's packets come so many times in a row: minutes of video in a second of rendering."""

# What one actor does one after the other. Everything else can happen beside it.
ACTOR_STAGES = ("vision", "low", "high", "store", "commit")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ActorFigure:
    """One prefill actor's seconds: between its first video's begin and its last one's end, at work, and waiting."""

    name: str
    videos: int
    window_s: float
    busy_s: float
    wait_s: float

    @property
    def idle_s(self) -> float:
        """Neither at work nor waiting for frames: between videos."""
        return max(0.0, self.window_s - self.busy_s - self.wait_s)


@dataclass(frozen=True)
class IngestFigures:
    """All figures. Seconds are sums over videos; ``stage_s`` has those of every stage, also where they overlap.

    ``total_s``: from the first video's plan to the last commit, processes started. ``critical_s``: the longest chain of
    what must be done one after the other: the first video's plan, and all that the busiest actor computes and stores.
    ``bare``: the same work without the pipeline, and ``least_s``, what that takes at least on so many actors and
    processors. ``in_flight_bytes``: the most that decoded frames may take at once. ``peak_bytes``: of all processes.
    """

    videos: int
    video_s: float
    chunks: int
    start_s: float
    total_s: float
    critical_s: float
    bare: BareWork
    least_s: float
    stage_s: dict[str, float]
    actors: tuple[ActorFigure, ...]
    videos_per_actor: int
    in_flight_bytes: int
    peak_bytes: int
    peak_bytes_by_kind: dict[str, int]

    @property
    def ratio(self) -> float:
        """How many times as long as the critical path it took."""
        return self.total_s / self.critical_s

    @property
    def bare_ratio(self) -> float:
        """How many times as long as the bare work it took: what is lost to the pipeline, wherever it is lost."""
        return self.total_s / self.least_s

    @property
    def waiting(self) -> float:
        """The share of their time that actors waited for frames."""
        return sum(actor.wait_s for actor in self.actors) / sum(actor.window_s for actor in self.actors)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {
            "ratio": self.ratio,
            "bare_ratio": self.bare_ratio,
            "waiting": self.waiting,
        }


def bench_ingest(
    settings: IngestSettings, *, videos: int, hours: float | None, progress: Progress, repeats: int = REPEATS
) -> IngestFigures:
    """Render ``videos`` clips, each ``repeats`` times as long as its scenes, or one of ``hours``, and ingest them.

    :raises VideoX2LError: a video was not ingested.
    """
    with tempfile.TemporaryDirectory(prefix="videox2l-bench-") as folder:
        base = Path(folder)
        (base / "videos").mkdir()
        (base / "decode").mkdir()
        for number in range(1 if hours else videos):
            progress(f"rendering clip {number + 1}")
            _render(base / "videos" / f"{number:03}.mp4", number, hours, repeats)
        progress("starting Ray")
        with ray_cluster(settings.prefill_actors, settings.cpus_per_actor), MemorySampler() as memory:
            progress("ingesting")
            began = time.time()
            heard: list[Event] = []
            summary = ingest(
                [base / "videos"],
                base / "archive",
                settings,
                decoder=functools.partial(timed_decode, base / "decode"),
                on_progress=heard.append,
            )
        if not summary.ok:
            raise VideoX2LError("; ".join(f"{row.name}: {row.error}" for row in summary.rows if row.error))
        decode_s = noted_s(base / "decode")
        progress("doing the same without the pipeline")
        bare = bare_work(sorted((base / "videos").iterdir()), base / "bare", settings)
        return figures(summary.rows, began, decode_s, memory, bare, settings.videos_per_actor)


def figures(
    rows: Sequence[IngestRow],
    began: float,
    decode_s: float,
    memory: MemorySampler,
    bare: BareWork,
    videos_per_actor: int = 1,
) -> IngestFigures:
    """Sum up ``rows``; ``began`` is when the job was started (seconds since the epoch)."""
    stages: dict[str, float] = defaultdict(float)
    for row in rows:
        for stage, seconds in row.seconds.items():
            stages[stage] += seconds
    stages["decode"] = decode_s
    actors = tuple(_actor(name, [row for row in rows if row.worker == name]) for name in _workers(rows))
    first = min(rows, key=lambda row: row.began)
    before_first = first.seconds["identify"] + first.seconds["plan"]
    first_begin, last_end = first.began, max(row.ended for row in rows)
    return IngestFigures(
        videos=len(rows),
        video_s=sum(row.duration_s for row in rows),
        chunks=sum(row.chunks for row in rows),
        start_s=first_begin - before_first - began,
        total_s=last_end - first_begin + before_first,
        critical_s=before_first + max(actor.busy_s for actor in actors),
        bare=bare,
        least_s=bare.least_s(len(actors), os.cpu_count() or 1),
        stage_s=dict(stages),
        actors=actors,
        videos_per_actor=videos_per_actor,
        in_flight_bytes=len(actors) * bytes_in_flight(videos_per_actor),
        peak_bytes=memory.peak,
        peak_bytes_by_kind=memory.peak_by_kind,
    )


def _workers(rows: Sequence[IngestRow]) -> list[str]:
    return sorted({row.worker for row in rows})


def _actor(name: str, rows: Sequence[IngestRow]) -> ActorFigure:
    return ActorFigure(
        name=name,
        videos=len(rows),
        window_s=max(row.ended for row in rows) - min(row.began for row in rows),
        busy_s=sum(_busy(row.seconds) for row in rows),
        wait_s=sum(row.seconds["wait"] for row in rows),
    )


def _busy(seconds: Mapping[str, float]) -> float:
    return sum(seconds.get(stage, 0.0) for stage in ACTOR_STAGES)


def _render(path: Path, number: int, hours: float | None, repeats: int) -> None:
    scenes = max(SCENES) if hours else SCENES[number % len(SCENES)]
    times = max(1, round(hours * 3600 / (scenes * SECONDS_PER_SCENE))) if hours else repeats
    short = path.with_suffix(".short.mp4")
    render(SyntheticClip.from_seed(FIRST_SEED + number, scenes), short)
    repeat(short, path, times)
    short.unlink()
