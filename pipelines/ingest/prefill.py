"""Second stage: a process that holds the model and turns one planned video after another into a committed index."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, cast

import ray
import torch

from pipelines.ingest import quarantine
from pipelines.ingest.decode import DecodeStream
from pipelines.ingest.events import VideoStarted
from pipelines.ingest.job import Job
from pipelines.ingest.lines import line
from pipelines.ingest.logs import about_video
from pipelines.ingest.plan import NOTHING, PlannedVideo, StageRow, finished
from pipelines.ingest.quarantine import PrefillWorkerLostError
from pipelines.ingest.rows import IngestRow
from pipelines.ingest.summary import size
from pipelines.ingest.tracker import MAX_ATTEMPTS, ChunkReports, Stopped, attempt, report
from pipelines.ingest.turns import Turns
from pipelines.parallel.leader import LeadingRank
from videox2l.errors import AlreadyCommittedError, CorruptDataError, ModelError
from videox2l.models import KVCompressibleModel, PrefillState, load_model
from videox2l.models.retriever import load_retriever
from videox2l.prefill import PrefillReport, prefill_chunks
from videox2l.prefill.append import stored_state
from videox2l.prefill.chunks import begins_as_planned, can_be_continued, timeline_of
from videox2l.prefill.together import SharedForwards
from videox2l.store import Archive, IndexReader, IndexSpec, IndexWriter, Manifest
from videox2l.store.patience import StorageFailedError, StorageFullError

logger = logging.getLogger(__name__)


PrefillChunks = Callable[..., PrefillReport]
"""What :func:`~videox2l.prefill.prefill_chunks` is, of the model that this process has, or leads."""


class _NotToBeHadError(Exception):
    """What an earlier process had stored is gone, or damaged."""


class PrefillStage:
    """Prefills videos, one at a time on the device or as many as the job says. May be called from a thread more.

    While videos are being prefilled, the one of the thread more decodes its first frames: between short clips the
    device would otherwise wait for them. A video that another process has left unfinished is gone on with.
    """

    def __init__(self, job: Job, tracker: Any, threads: int) -> None:
        # Ray gives a process with one CPU one thread; a model on the CPU wants as many as its share of the machine.
        torch.set_num_threads(threads)
        self._job = job
        self._tracker = tracker
        self._turns = Turns(job.videos_at_once)
        choice = job.model
        model: KVCompressibleModel
        if job.ranks == 1:
            model = load_model(choice.name, device=choice.device, dtype=choice.dtype)
            shared = cast("KVCompressibleModel", SharedForwards(model)) if job.videos_at_once > 1 else model
            prefill: PrefillChunks = partial(prefill_chunks, shared)
        else:
            leader = LeadingRank(choice.name, job.ranks, device=choice.device, dtype=choice.dtype, threads=threads)
            model, prefill = leader.model, leader.prefill_chunks
        self._retriever = None if job.retriever is None else load_retriever(job.retriever, model)
        self._prefill_chunks: PrefillChunks = partial(prefill, retriever=self._retriever)
        here, expected = model.identity.fingerprint, job.facts.spec.model_fingerprint
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
        with about_video(video.source, video.identity.video_id):
            return self._finish(video)

    def _finish(self, video: PlannedVideo) -> StageRow:
        identity = video.identity
        try:
            row = self._ingest(video)
        except Stopped:
            return NOTHING
        except AlreadyCommittedError as error:
            row = IngestRow.of_error(video.source, error, "skipped", identity.video_id, identity.name)
        except StorageFailedError as error:  # nor could any other video be stored
            ray.get(self._tracker.give_up.remote(error))
            return NOTHING
        except Exception as error:  # errors are rows: one file never ends the job
            quarantine.note(self._archive, video.identity, self._spec(video).index_fp, error)
            row = IngestRow.of_error(video.source, error, "failed", identity.video_id, identity.name)
        logger.info("%s", line(row))
        return finished(self._tracker, row)

    @property
    def _archive(self) -> Archive:
        assert self._job.archive is not None, "a dry run has no prefill stage"
        return self._job.archive

    def _spec(self, video: PlannedVideo) -> IndexSpec:
        return self._job.facts.spec_of(video.request.sampling(self._job.sampling))

    def _ingest(self, video: PlannedVideo) -> IngestRow:
        """Go on from where the most is stored that can be had."""
        unfinished = self._unfinished(video)
        for number, beginning in enumerate(unfinished):
            try:
                return self._prefill(video, beginning, first=number == 0)
            except _NotToBeHadError as error:
                logger.warning("%s is not gone on with, but from further back: %s", beginning.attempt, error)
        return self._prefill(video, None, first=not unfinished)

    def _unfinished(self, video: PlannedVideo) -> list[Manifest]:
        if not can_be_continued(self._spec(video)):
            return []
        found = self._archive.unfinished(video.identity, self._spec(video))
        chunks = video.plan.chunks
        return [old for old in found if len(old.chunks) > video.keep and begins_as_planned(old.chunks, chunks)]

    def _prefill(self, video: PlannedVideo, unfinished: Manifest | None, *, first: bool) -> IngestRow:
        job = self._job
        kept = video.keep if unfinished is None else len(unfinished.chunks)
        frames = DecodeStream(
            video.source,
            video.plan.chunks[kept:],
            job.facts.frame_format,
            decoder=job.decoder,
            timeout_s=job.decode_timeout_s,
        )
        with frames, ExitStack() as until_committed:
            # Before the turn, as the device would have to wait for the archive.
            writer, resume = self._writer(video, unfinished)
            until_committed.enter_context(writer)
            with self._turns.take(self._places(video)):
                if first:
                    self._count_attempt(video, kept)
                    report(self._tracker, VideoStarted(video.source))
                began = time.time()
                reports = ChunkReports(self._tracker, video.source)
                try:
                    prefilled = self._prefill_chunks(
                        job.facts.compression,
                        frames,
                        len(video.plan.chunks),
                        writer,
                        lambda done, total: reports(done - video.keep, last=done == total),
                        resume,
                        job.thumbnails,
                        timeline_of(video.plan.chunks),
                    )
                except Stopped:
                    writer.suspend()
                    raise
                except StorageFullError as error:
                    raise self._full(error, video, writer) from error
                except CorruptDataError as error:
                    if unfinished is None:
                        raise
                    raise _NotToBeHadError(error) from error
            # The device is free for the next video while the last uploads end.
            committing = time.time()
            try:
                writer.check_source(video.source)
                manifest = writer.commit()
            except StorageFullError as error:
                raise self._full(error, video, writer) from error
        ended = time.time()
        quarantine.release(self._archive, video.identity, writer.spec.index_fp)
        seconds = {"wait": frames.waited_s} | prefilled.seconds | {"commit": ended - committing}
        return IngestRow(
            video.source,
            "committed",
            video.identity.video_id,
            video.identity.name,
            warning=prefilled.warning or "",
            chunks=len(manifest.chunks),
            kept=kept,
            frames=prefilled.frames,
            duration_s=manifest.duration_s,
            low_bytes=manifest.totals["low"].bytes,
            high_bytes=manifest.totals["high"].bytes,
            seconds=video.seconds | seconds,
            worker=f"{socket.gethostname()}:{os.getpid()}",
            began=began,
            ended=ended,
        )

    def _places(self, video: PlannedVideo) -> int:
        """How many places on the device it takes: all of them, where so many of its length would not fit."""
        places, memory = self._turns.places, self._job.facts.memory
        return 1 if memory is None or memory.fits(len(video.plan.chunks), places) else places

    def _writer(self, video: PlannedVideo, unfinished: Manifest | None) -> tuple[IndexWriter, PrefillState | None]:
        """For what is not stored yet, and the state to go on from.

        :raises _NotToBeHadError: ``unfinished`` is gone.
        """
        writer, resume = self._new_writer(video)
        writer.retrieved_by(None if self._retriever is None else self._retriever.identity)
        if can_be_continued(writer.spec):
            writer.keep_journal(self._job.journal_every_s)
        if unfinished is None:
            return writer, resume
        if not writer.resume(unfinished):
            raise _NotToBeHadError("its writer has deleted it")
        return writer, stored_state(IndexReader(self._archive.storage, unfinished), len(unfinished.chunks))

    def _new_writer(self, video: PlannedVideo) -> tuple[IndexWriter, PrefillState | None]:
        """For the whole video, or for what a recording has grown by and the state to go on from."""
        job, archive, spec = self._job, self._archive, self._spec(video)
        if not video.base:
            writer = archive.create_index(
                video.identity,
                spec,
                replace=job.replace,
                recorded_at=video.request.recorded_at,
                metadata=video.request.metadata,
            )
            return writer, None
        reader = archive.open_index(video.identity.video_id, spec=spec)
        if reader.manifest.attempt != video.base:
            raise AlreadyCommittedError(f"{video.identity.name} was continued or replaced by another job meanwhile.")
        writer = archive.extend_index(reader.manifest, video.identity, video.keep, metadata=video.request.metadata)
        return writer, stored_state(reader, video.keep)

    def _count_attempt(self, video: PlannedVideo, kept: int) -> None:
        if attempt(self._tracker, video.source, kept) > MAX_ATTEMPTS:
            raise PrefillWorkerLostError(
                f"{video.source}: the process that prefills it died {MAX_ATTEMPTS} times behind chunk {kept} of "
                f"{len(video.plan.chunks)}. It may not have enough memory for so many: sample fewer frames, or use a "
                "machine with more."
            )

    def _full(self, error: StorageFullError, video: PlannedVideo, writer: IndexWriter) -> StorageFullError:
        """``error``, and how much room the video still needs."""
        share = 1 - writer.chunks / len(video.plan.chunks)
        needed = share * sum(self._job.facts.expected_bytes(video.plan).values())
        return StorageFullError(
            f"{error} {video.identity.name} needs about {size(needed)} more, other videos come on top. Make room, with "
            "`videox2l gc` or more disk, and run the same command again: it goes on from here."
        )
