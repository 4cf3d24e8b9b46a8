"""The report of a run, made from its ledger: as JSON for programs, and as one HTML page for people."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.ingest.page import render
from pipelines.ingest.rows import IngestRow
from pipelines.ingest.runs import Run
from videox2l.identity import source_name, source_url
from videox2l.store.documents import seal
from videox2l.store.layout import RUNS
from videox2l.store.storage import Storage

# What fits a screen; the ledger has all.
_SLOWEST = 15

# Steps of the throughput's plot: below, noise is left of it; above, more than is seen.
_STEPS = 60


def run_report(run: Run) -> dict[str, Any]:
    """What a run has done, as plain JSON types. Times are in seconds, ``*_s``, or ISO 8601."""
    end = run.end
    wall_s = end.wall_s if end else max(run.finished_s, default=0.0)
    video_s = sum(map(_new_s, run.rows))
    return {
        "run": run.run_id,
        "archive": run.about.get("archive", ""),
        "started": run.about.get("started", ""),
        "finished": end.finished if end else None,
        "outcome": end.outcome if end else "unfinished",
        "error": end.error if end else "",
        "wall_s": wall_s,
        "totals": _totals(run, video_s, wall_s),
        "stages_s": _stages(run.rows),
        "throughput": _throughput(run, wall_s),
        "slowest": [_video(row) for row in _slowest(run.rows)],
        "failed": [_video(row) for row in run.rows if _failed(row)],
        "failures": _failures(run.rows),
        "warnings": [_video(row) for row in run.rows if row.warning],
        "settings": run.about.get("settings", {}),
        "versions": run.about.get("versions", {}),
        "model_fingerprint": run.about.get("model_fingerprint", ""),
        "index_fp": run.about.get("index_fp", ""),
    }


def store_report(storage: Storage, run: Run) -> None:
    """Keep the report beside the ledger.

    :raises ArchiveError: the archive does not take it.
    """
    report = run_report(run)
    storage.write(f"{RUNS}/{run.run_id}.json", seal(report))
    storage.write(f"{RUNS}/{run.run_id}.html", render(report).encode())


def _totals(run: Run, video_s: float, wall_s: float) -> dict[str, Any]:
    return {
        "videos": run.about.get("videos", len(run.rows)),
        "through": len(run.rows),
        "by_status": dict(Counter(row.status for row in run.rows).most_common()),
        "chunks": sum(row.chunks - row.kept for row in run.rows if row.status == "committed"),
        "frames": sum(row.frames for row in run.rows if row.status == "committed"),
        "video_s": video_s,
        "video_hours_per_hour": video_s / wall_s if wall_s else None,
        "low_bytes": sum(row.low_bytes for row in run.rows if row.status == "committed"),
        "high_bytes": sum(row.high_bytes for row in run.rows if row.status == "committed"),
    }


def _new_s(row: IngestRow) -> float:
    """Seconds of video that were prefilled and committed; what a recording had before is not counted again."""
    if row.status != "committed" or not row.chunks:
        return 0.0
    return row.duration_s * (row.chunks - row.kept) / row.chunks


def _stages(rows: Iterable[IngestRow]) -> dict[str, float]:
    """Seconds by stage over all videos, in the order of the work."""
    stages: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        for stage, seconds in row.seconds.items():
            stages[stage] += seconds
    return dict(stages)


def _throughput(run: Run, wall_s: float) -> dict[str, Any]:
    """Hours of video an hour, in equal steps of ``step_s`` seconds (the last one may be shorter)."""
    timeline = run.end.timeline if run.end else {}
    if timeline.get("video_s"):
        step_s = timeline["step_s"]
        done = [(step_s * number, seconds) for number, seconds in enumerate(timeline["video_s"])]
    else:  # the driver was killed: what is left is when videos were through
        step_s = 1.0
        done = [(when, _new_s(row)) for when, row in zip(run.finished_s, run.rows, strict=True)]
    # Whole steps of the timeline, or plots would show a beat that is not there.
    width_s = step_s * max(1, -(-int(wall_s) // int(step_s * _STEPS)))
    steps = [0.0] * (int(max([wall_s, *(when for when, _ in done)]) / width_s) + 1)
    for when, seconds in done:
        steps[int(when / width_s)] += seconds
    lengths = [min(width_s, max(wall_s - width_s * number, step_s)) for number in range(len(steps))]
    return {"step_s": width_s, "video_hours_per_hour": [a / b for a, b in zip(steps, lengths, strict=True)]}


def _slowest(rows: Sequence[IngestRow]) -> list[IngestRow]:
    worked = [row for row in rows if row.status == "committed"]
    return sorted(worked, key=lambda row: -sum(row.seconds.values()))[:_SLOWEST]


def _failed(row: IngestRow) -> bool:
    return row.status not in ("committed", "skipped", "planned")


def _failures(rows: Iterable[IngestRow]) -> list[dict[str, Any]]:
    """Failed videos by the kind of error, the most frequent first."""
    kinds = Counter(row.error_type for row in rows if _failed(row))
    return [{"error_type": kind, "videos": count} for kind, count in kinds.most_common()]


def _video(row: IngestRow) -> dict[str, Any]:
    # A signed link is a secret, and a report is passed around.
    source = source_url(row.source) if "://" in row.source else row.source
    facts: Mapping[str, Any] = {
        "name": row.name or source_name(source),
        "source": source,
        "video_id": row.video_id,
        "status": row.status,
        "error_type": row.error_type,
        "error": row.error,
        "traceback": row.traceback,
        "warning": row.warning,
        "chunks": row.chunks,
        "duration_s": row.duration_s,
        "work_s": sum(row.seconds.values()),
        "seconds": row.seconds,
    }
    return {name: value for name, value in facts.items() if value != ""}
