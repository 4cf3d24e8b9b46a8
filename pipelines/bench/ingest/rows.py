"""An ingest beside its two bounds: the same work without the pipeline, and what has to be done in turn."""

from __future__ import annotations

from pipelines.bench.ingest.run import IngestFigures
from pipelines.bench.rows.report import Report, Row, Section, Setup


def report(figures: IngestFigures) -> Report:
    """Both rows, and all figures as details."""
    case = f"clips {figures.videos}, chunks {figures.chunks}, actors {len(figures.actors)}"
    if figures.videos_per_actor > 1:
        case += f", videos of each {figures.videos_per_actor}"
    bare = figures.bare
    rows = (
        Row(
            part="ingest",
            case=case,
            chunks=figures.chunks,
            seconds=figures.total_s,
            bound="the same without the pipeline, shared out among the processors",
            bound_s=figures.least_s,
            ratio=figures.bare_ratio,
            peak_bytes=figures.peak_bytes or None,
            more={"video-hours an hour": figures.video_s / figures.total_s},
        ),
        Row(
            part="ingest",
            case=f"{case}, critical path",
            chunks=figures.chunks,
            seconds=figures.total_s,
            bound="the first plan, and all that the busiest actor does",
            bound_s=figures.critical_s,
            ratio=figures.ratio,
            peak_bytes=figures.peak_bytes or None,
            more={"waiting for frames": figures.waiting},
        ),
    )
    setup = Setup(bare.model, bare.device, bare.dtype, bare.threads)
    return Report((Section(setup, rows),), {"ingest": figures.to_dict()})
