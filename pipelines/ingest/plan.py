"""First stage: which video is it, is it there already, and which frames make up which chunk."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import ray

from pipelines.ingest.events import RowFinished, VideoPlanned
from pipelines.ingest.isolation import results, start_isolated
from pipelines.ingest.job import Job
from pipelines.ingest.rows import IngestRow
from pipelines.ingest.tracker import Stopped, report
from videox2l.identity import VideoIdentity, video_identity
from videox2l.prefill.append import chunks_to_keep
from videox2l.store import Manifest
from videox2l.video import Chunk, VideoPlan, plan_video

# Half a CPU, as it waits for the disk as much as it hashes. It differs from a prefill worker's on purpose: Ray Data
# would fuse stages of equal needs into one process, and then no video could be planned while another is prefilled.
PLAN_CPUS = 0.5


class StageRow(TypedDict):
    """What flows between stages. Arrow wants equal columns in all rows, so either side is JSON, or empty.

    ``result`` is an :class:`IngestRow` of a video that is through, ``planned`` a :class:`PlannedVideo` with work ahead.
    """

    result: str
    planned: str


NOTHING: StageRow = {"result": "", "planned": ""}
"""Stands for a video that the job was stopped before."""


NOT_GROWN = "has not grown since its last ingest"


@dataclass(frozen=True)
class PlannedVideo:
    """A video that is to be prefilled. ``source`` is what was asked for; ``seconds`` are those spent on it so far.

    The index of a recording that has grown is continued behind its first ``keep`` chunks, if it is still the one that
    was written by attempt ``base``; for other videos that is empty.
    """

    source: str
    identity: VideoIdentity
    plan: VideoPlan
    seconds: dict[str, float]
    base: str = ""
    keep: int = 0

    def to_json(self) -> str:
        return json.dumps(
            {
                "source": self.source,
                "identity": dataclasses.asdict(self.identity),
                "plan": self.plan.to_dict(),
                "seconds": self.seconds,
                "base": self.base,
                "keep": self.keep,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> PlannedVideo:
        data = json.loads(text)
        data["identity"], data["plan"] = VideoIdentity(**data["identity"]), VideoPlan.from_dict(data["plan"])
        return cls(**data)


def finished(tracker: Any, row: IngestRow) -> StageRow:
    """Close a video: its row flows on to the end, and the driver hears of it at once, ahead of rows that still wait."""
    ray.get(tracker.report.remote(RowFinished(row)))
    return {"result": row.to_json(), "planned": ""}


def plan_row(item: dict[str, Any], job: Job, tracker: Any) -> StageRow:
    """Plan the video at ``item["source"]``, or say why it needs no prefill."""
    source = item["source"]
    try:
        report(tracker)
        planned = _plan(source, job, tracker)
    except Stopped:
        return NOTHING
    except Exception as error:  # errors are rows: one file never ends the job
        return finished(tracker, IngestRow.of_error(source, error))
    if isinstance(planned, IngestRow):
        return finished(tracker, planned)
    if job.dry_run:
        return finished(tracker, _preview(planned, job))
    info = planned.plan.info
    event = VideoPlanned(source, planned.identity.name, len(planned.plan.chunks) - planned.keep, info.duration_s or 0.0)
    ray.get(tracker.report.remote(event))
    return {"result": "", "planned": planned.to_json()}


def _plan(source: str, job: Job, tracker: Any) -> PlannedVideo | IngestRow:
    began = time.perf_counter()
    identity = _identify(source, job)
    identified = time.perf_counter()
    seconds = {"identify": identified - began}
    skipped = IngestRow(source, "skipped", identity.video_id, identity.name, seconds=seconds)
    if (first := ray.get(tracker.claim.remote(identity.video_id, source))) != source:
        return dataclasses.replace(skipped, error=f"has the same content as {first}")
    stored = _stored_recording(identity, job)
    if stored is not None and stored.video.sha256 == identity.sha256:
        return dataclasses.replace(skipped, error=NOT_GROWN)
    if job.archive is not None and not job.replace and job.archive.has(identity.video_id, job.facts.spec):
        return dataclasses.replace(skipped, error="is in the archive already, made with these settings")
    frames_per_chunk = job.facts.compression.frames_per_chunk
    task = start_isolated("plan", PLAN_CPUS, plan_video, source, job.sampling, frames_per_chunk)
    (plan,) = results(task, source, job.decode_timeout_s)
    planned = PlannedVideo(source, identity, plan, seconds)
    if stored is not None:
        keep = chunks_to_keep(stored, plan, lambda chunk: _decode_one(source, chunk, job))
        if keep is None:
            return dataclasses.replace(skipped, error=NOT_GROWN)
        identity = dataclasses.replace(identity, video_id=stored.video.video_id)
        planned = dataclasses.replace(planned, identity=identity, base=stored.attempt, keep=keep)
    return dataclasses.replace(planned, seconds=seconds | {"plan": time.perf_counter() - identified})


def _identify(source: str, job: Job) -> VideoIdentity:
    # A dry run must not even leave a note of what it has read.
    return video_identity(source) if job.archive is None or job.dry_run else job.archive.identify(source)


def _stored_recording(identity: VideoIdentity, job: Job) -> Manifest | None:
    """What the video may continue."""
    video_id = job.recordings.get(identity.source)
    if video_id is None or job.archive is None:
        return None
    return job.archive.open_index(video_id, spec=job.facts.spec).manifest


def _decode_one(source: str, chunk: Chunk, job: Job) -> np.ndarray:
    task = start_isolated("decode", PLAN_CPUS, job.decoder, source, [chunk], job.facts.frame_format)
    (decoded,) = results(task, source, job.decode_timeout_s)
    frames_FHWC: np.ndarray = decoded.frames_FHWC
    return frames_FHWC


def _preview(video: PlannedVideo, job: Job) -> IngestRow:
    expected = job.facts.expected_bytes(video.plan)
    return IngestRow(
        video.source,
        "planned",
        video.identity.video_id,
        video.identity.name,
        chunks=len(video.plan.chunks),
        kept=video.keep,
        frames=sum(len(chunk.pts) for chunk in video.plan.chunks[video.keep :]),
        duration_s=video.plan.info.duration_s or 0.0,
        low_bytes=expected["low"],
        high_bytes=expected["high"],
        seconds=video.seconds,
    )
