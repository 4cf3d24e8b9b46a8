"""Second stage: a process that holds the model and turns one planned video after another into a committed index."""

from __future__ import annotations

import threading
import time
from typing import Any

import ray
import torch

from pipelines.ingest.decode import DecodeStream
from pipelines.ingest.events import ChunkDone, VideoStarted
from pipelines.ingest.job import Job
from pipelines.ingest.plan import NOTHING, PlannedVideo, StageRow, finished
from pipelines.ingest.rows import IngestRow
from pipelines.ingest.tracker import MAX_ATTEMPTS, Stopped, report
from videox2l.errors import AlreadyCommittedError, ModelError
from videox2l.models import PrefillState, load_model
from videox2l.prefill import prefill_chunks
from videox2l.prefill.append import stored_state
from videox2l.store import Archive, IndexWriter


class PrefillWorkerLostError(ModelError):
    """Every process that prefilled this video died."""


class PrefillStage:
    """Prefills videos, one at a time on the device. May be called from two threads.

    While one video is being prefilled, the other thread's video decodes its first frames: between short clips the
    device would otherwise wait for them.
    """

    def __init__(self, job: Job, tracker: Any, threads: int) -> None:
        # Ray gives a process with one CPU one thread; a model on the CPU wants as many as its share of the machine.
        torch.set_num_threads(threads)
        self._job = job
        self._tracker = tracker
        self._turn = threading.Lock()
        self._model = load_model(job.model.name, device=job.model.device, dtype=job.model.dtype)
        here, expected = self._model.identity.fingerprint, job.facts.spec.model_fingerprint
        if here != expected:
            raise ModelError(
                f"{job.model.name} is not the same checkpoint on all machines: one has {expected}, another {here}. "
                "Bring the folders to the same state."
            )

    def __call__(self, item: StageRow) -> StageRow:
        """Ingest one planned video; rows that are through already pass."""
        if not item["planned"]:
            return item
        video = PlannedVideo.from_json(item["planned"])
        try:
            row = self._ingest(video)
        except Stopped:
            return NOTHING
        except AlreadyCommittedError as error:
            row = IngestRow.of_error(video.source, error, status="skipped", video_id=video.identity.video_id)
        except Exception as error:  # errors are rows: one file never ends the job
            row = IngestRow.of_error(video.source, error, video_id=video.identity.video_id)
        return finished(self._tracker, row)

    def _ingest(self, video: PlannedVideo) -> IngestRow:
        job, chunks = self._job, video.plan.chunks[video.keep :]
        assert job.archive is not None, "a dry run has no prefill stage"
        frames = DecodeStream(
            video.source,
            chunks,
            job.facts.frame_format,
            decoder=job.decoder,
            timeout_s=job.decode_timeout_s,
        )
        with frames, self._turn:
            self._begin(video)
            began = time.perf_counter()
            writer, resume = self._writer(job.archive, video)
            with writer:
                prefilled = prefill_chunks(
                    self._model,
                    job.facts.compression,
                    frames,
                    len(video.plan.chunks),
                    writer,
                    lambda done, _: report(self._tracker, ChunkDone(video.source, done - video.keep)),
                    resume,
                )
                uploading = time.perf_counter()
                manifest = writer.commit()
        seconds = {
            "wait": frames.waited_s,
            "prefill": uploading - began - frames.waited_s,
            "commit": time.perf_counter() - uploading,
        }
        return IngestRow(
            video.source,
            "committed",
            video.identity.video_id,
            video.identity.name,
            warning=prefilled.warning or "",
            chunks=len(manifest.chunks),
            kept=video.keep,
            frames=prefilled.frames,
            duration_s=manifest.duration_s,
            low_bytes=manifest.totals["low"].bytes,
            high_bytes=manifest.totals["high"].bytes,
            seconds=video.seconds | seconds,
        )

    def _writer(self, archive: Archive, video: PlannedVideo) -> tuple[IndexWriter, PrefillState | None]:
        """For the whole video, or for what a recording has grown by and the state to go on from."""
        job = self._job
        if not video.base:
            writer = archive.create_index(
                video.identity, job.facts.spec, replace=job.replace, recorded_at=job.recorded_at
            )
            return writer, None
        reader = archive.open_index(video.identity.video_id, spec=job.facts.spec)
        if reader.manifest.attempt != video.base:
            raise AlreadyCommittedError(f"{video.identity.name} was continued or replaced by another job meanwhile.")
        writer = archive.extend_index(reader.manifest, video.identity, video.keep)
        return writer, stored_state(reader, video.keep)

    def _begin(self, video: PlannedVideo) -> None:
        report(self._tracker, VideoStarted(video.source))
        if ray.get(self._tracker.attempt.remote(video.source)) > MAX_ATTEMPTS:
            raise PrefillWorkerLostError(
                f"{video.source}: the process that prefills it died {MAX_ATTEMPTS} times. It may not have enough "
                f"memory for {len(video.plan.chunks)} chunks: sample fewer frames, or use a machine with more."
            )
