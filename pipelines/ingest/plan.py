"""First stage: which video is it, is it there already, and which frames make up which chunk."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import ray

from pipelines.ingest import quarantine
from pipelines.ingest.events import RowFinished, VideoPlanned
from pipelines.ingest.isolation import run_isolated
from pipelines.ingest.job import Job
from pipelines.ingest.logs import about_video
from pipelines.ingest.rows import IngestRow
from pipelines.ingest.sources import VideoRequest
from pipelines.ingest.summary import size
from pipelines.ingest.tracker import Stopped, report
from videox2l.errors import ArchiveNotWritableError, VideoError
from videox2l.identity import VideoIdentity, video_identity
from videox2l.prefill.append import chunks_to_keep
from videox2l.store import IndexSpec, Manifest, layout
from videox2l.store.metadata import is_own_name
from videox2l.store.patience import StorageFailedError
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
IN_ARCHIVE = "is in the archive already, made with these settings"


@dataclass(frozen=True)
class PlannedVideo:
    """A video that is to be prefilled. ``request`` is what was asked for; ``seconds`` are those spent on it so far.

    The index of a recording that has grown is continued behind its first ``keep`` chunks, if it is still the one that
    was written by attempt ``base``; for other videos that is empty.
    """

    request: VideoRequest
    identity: VideoIdentity
    plan: VideoPlan
    seconds: dict[str, float]
    base: str = ""
    keep: int = 0

    @property
    def source(self) -> str:
        """The path or URL that was asked for."""
        return self.request.source

    def to_json(self) -> str:
        return json.dumps(
            {
                "request": dataclasses.asdict(self.request),
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
        data["request"] = VideoRequest.from_dict(data["request"])
        data["identity"], data["plan"] = VideoIdentity(**data["identity"]), VideoPlan.from_dict(data["plan"])
        return cls(**data)


def finished(tracker: Any, row: IngestRow) -> StageRow:
    """Close a video: its row flows on to the end, and the driver hears of it at once, ahead of rows that still wait."""
    ray.get(tracker.report.remote(RowFinished(row)))
    return {"result": row.to_json(), "planned": ""}


class PlanStage:
    """Plans one video after another. An actor, so that there are few processes that have to import all this."""

    def __init__(self, job: Job, tracker: Any) -> None:
        self._job = job
        self._tracker = tracker

    def __call__(self, item: dict[str, Any]) -> StageRow:
        """Plan the video of ``item["request"]``, a :class:`VideoRequest` as JSON, or say why it needs no prefill."""
        request = VideoRequest.from_dict(json.loads(item["request"]))
        with about_video(request.source):
            return _plan_row(request, self._job, self._tracker)


def _plan_row(request: VideoRequest, job: Job, tracker: Any) -> StageRow:
    source = request.source
    try:
        report(tracker)
        planned = _plan(request, job, tracker)
    except Stopped:
        return NOTHING
    except StorageFailedError as error:  # nor could any other video be stored
        ray.get(tracker.give_up.remote(error))
        return NOTHING
    except Exception as error:  # errors are rows: one file never ends the job
        return finished(tracker, IngestRow.of_error(source, error, name=request.name))
    if isinstance(planned, IngestRow):
        return finished(tracker, planned)
    if job.dry_run:
        return finished(tracker, _preview(planned, job))
    info = planned.plan.info
    new = len(planned.plan.chunks) - planned.keep
    event = VideoPlanned(source, planned.identity.name, new, info.duration_s or 0.0, planned.keep)
    ray.get(tracker.report.remote(event))
    return {"result": "", "planned": planned.to_json()}


def _plan(request: VideoRequest, job: Job, tracker: Any) -> PlannedVideo | IngestRow:
    began, source = time.perf_counter(), request.source
    identity = request.named(_identify(source, job))
    identified = time.perf_counter()
    seconds = {"identify": identified - began}
    sampling = request.sampling(job.sampling)
    spec = job.facts.spec_of(sampling)
    skipped = IngestRow(source, "skipped", identity.video_id, identity.name, seconds=seconds)
    if (first := ray.get(tracker.claim.remote(f"{identity.video_id}-{spec.index_fp}", source))) != source:
        lost = "; the metadata are those given there" if request.metadata else ""
        return dataclasses.replace(skipped, error=f"has the same content as {first}{lost}", same_as=first)
    stored = _stored_recording(identity, spec, job)
    if stored is not None and stored.video.sha256 == identity.sha256:
        known = dataclasses.replace(identity, video_id=stored.video.video_id)
        return dataclasses.replace(skipped, error=NOT_GROWN + _news(known, request, spec, job))
    if job.archive is not None and not job.replace and job.archive.has(identity.video_id, spec):
        return dataclasses.replace(skipped, error=IN_ARCHIVE + _news(identity, request, spec, job))
    frames_per_chunk = job.facts.compression.frames_per_chunk
    if (record := _quarantined(identity, spec, job)) is not None:
        return dataclasses.replace(skipped, status="quarantined", error_type=record.error_type, error=str(record))
    plan_args = (plan_video, source, sampling, frames_per_chunk)
    try:
        plan: VideoPlan = run_isolated("plan", PLAN_CPUS, source, job.decode_timeout_s, *plan_args)
    except VideoError as error:
        if job.archive is not None and not job.dry_run:
            quarantine.note(job.archive, identity, spec.index_fp, error)
        raise
    planned = PlannedVideo(request, identity, plan, seconds)
    if stored is not None:
        keep = chunks_to_keep(stored, plan, lambda chunk: _decode_one(source, chunk, job))
        if keep is None:
            return dataclasses.replace(skipped, error=NOT_GROWN)
        planned = dataclasses.replace(
            planned, identity=_continued(identity, stored.video), base=stored.attempt, keep=keep
        )
    check_room(planned, job)
    if job.facts.memory is not None:
        job.facts.memory.check(len(plan.chunks))
    return dataclasses.replace(planned, seconds=seconds | {"plan": time.perf_counter() - identified})


def _news(identity: VideoIdentity, request: VideoRequest, spec: IndexSpec, job: Job) -> str:
    """Note what is newly said of a video whose index is there already, and say so in words. A dry run notes nothing."""
    if job.archive is None or job.dry_run:
        return ""
    news = job.archive.describe(identity, spec.index_fp, recorded_at=request.recorded_at, metadata=request.metadata)
    return f"; it {', '.join(news)}" if news else ""


def _continued(identity: VideoIdentity, stored: VideoIdentity) -> VideoIdentity:
    """A recording that has grown keeps its id, and the name that somebody gave it, unless it was given another."""
    own = is_own_name(stored.name, stored.source) and not is_own_name(identity.name, identity.source)
    return dataclasses.replace(identity, video_id=stored.video_id, name=stored.name if own else identity.name)


def check_room(planned: PlannedVideo, job: Job) -> None:
    """Refuse before the prefill what cannot be stored after it.

    :raises ArchiveNotWritableError: the archive's disk has not enough room for the video alone.
    """
    archive = job.archive
    free = None if archive is None or job.dry_run else archive.storage.free_bytes()
    if archive is None or free is None:
        return
    spec = job.facts.spec_of(planned.request.sampling(job.sampling))
    folder = f"{layout.video(planned.identity.video_id)}/{spec.index_fp}"
    there = sum(info.size for info in archive.storage.files(folder))  # of an attempt that is gone on with
    needed = sum(job.facts.expected_bytes(planned.plan).values()) - there
    if needed > free:
        raise ArchiveNotWritableError(
            f"{planned.identity.name}: its KVs take some {size(needed)} more, the archive's disk has {size(free)} "
            "free. Make room, sample fewer frames, compress more, or use another codec."
        )


def _identify(source: str, job: Job) -> VideoIdentity:
    # A dry run must not even leave a note of what it has read.
    return video_identity(source) if job.archive is None or job.dry_run else job.archive.identify(source)


def _quarantined(identity: VideoIdentity, spec: IndexSpec, job: Job) -> quarantine.Record | None:
    """Why the video is to be left alone, if it is."""
    if job.archive is None or job.retry_quarantined:
        return None
    record = quarantine.find(job.archive, identity, spec.index_fp)
    return record if record is not None and record.in_force else None


def _stored_recording(identity: VideoIdentity, spec: IndexSpec, job: Job) -> Manifest | None:
    """What the video may continue."""
    video_id = job.recordings.get(identity.source)
    if video_id is None or job.archive is None:
        return None
    return job.archive.open_index(video_id, spec=spec).manifest


def _decode_one(source: str, chunk: Chunk, job: Job) -> np.ndarray:
    decode_args = (job.decoder, source, [chunk], job.facts.frame_format)
    frames_FHWC: np.ndarray = run_isolated("decode", PLAN_CPUS, source, job.decode_timeout_s, *decode_args).frames_FHWC
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
