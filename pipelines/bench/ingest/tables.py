"""The figures of an ingest for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from pipelines.bench.ingest.bare import BareWork
from pipelines.bench.ingest.run import IngestFigures
from pipelines.ingest.summary import clock, size

# What each stage is, in the order in which a video passes them.
STAGES = {
    "identify": "hash of the file",
    "plan": "frames and chunks",
    "decode": "in processes of its own",
    "wait": "prefill waited for frames",
    "vision": "frames to visual tokens",
    "low": "low pass",
    "high": "high pass",
    "store": "codec, and waiting for uploads",
    "commit": "last uploads and manifest",
}


def tables(figures: IngestFigures) -> Iterator[Table]:
    """Stages, actors, and the whole."""
    yield _stages(figures)
    yield _actors(figures)
    yield _whole(figures)


def _stages(figures: IngestFigures) -> Table:
    table = _table("Seconds by stage, over all videos", "stage", "seconds", "of total", "")
    for name, meaning in STAGES.items():
        seconds = figures.stage_s.get(name, 0.0)
        table.add_row(name, f"{seconds:.2f}", f"{seconds / figures.total_s:.0%}", meaning)
    return table


def _actors(figures: IngestFigures) -> Table:
    table = _table("Prefill actors", "actor", "videos", "at work", "waiting for frames", "between videos")
    for actor in figures.actors:
        shares = (actor.busy_s, actor.wait_s, actor.idle_s)
        table.add_row(actor.name, str(actor.videos), *(f"{share / actor.window_s:.1%}" for share in shares))
    return table


def _whole(figures: IngestFigures) -> Table:
    table = _table("The whole", "", "")
    kinds = ", ".join(f"{name} {size(held)}" for name, held in sorted(figures.peak_bytes_by_kind.items()))
    for name, value in (
        ("videos", f"{figures.videos}, {clock(figures.video_s)} of video, {figures.chunks} chunks"),
        ("to start Ray's workers and the model", f"{figures.start_s:.1f} s"),
        ("from the first plan to the last commit", f"{figures.total_s:.1f} s"),
        ("critical path", f"{figures.critical_s:.1f} s"),
        ("total over critical path", f"{figures.ratio:.2f}"),
        ("the same without the pipeline", _bare(figures.bare)),
        ("so at least, on these processors", f"{figures.least_s:.1f} s"),
        ("total over that", f"{figures.bare_ratio:.2f}"),
        ("video-hours an hour", f"{figures.video_s / figures.total_s:.1f}"),
        ("frames in flight, at most", size(figures.in_flight_bytes)),
        ("peak memory", f"{size(figures.peak_bytes)} (each kind's own peak: {kinds})"),
    ):
        table.add_row(name, value)
    return table


def _bare(bare: BareWork) -> str:
    return f"plan {bare.plan:.1f} s, decode {bare.decode:.1f} s, prefill {bare.prefill:.1f} s"


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, show_header=any(headings))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number == 0 or not heading else "right")
    return table
