"""A process that holds the model and answers all questions about a video, many at once."""

from __future__ import annotations

import logging
import math
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

import ray
import torch

from pipelines.batch.answers import ROW, answered, failed
from pipelines.batch.parts import Parts
from pipelines.batch.plan import Ask, Unit
from pipelines.batch.settings import BatchSettings
from pipelines.batch.tracker import MAX_ATTEMPTS
from videox2l.answering import Answer, AnswerEngine, EngineConfig, ResidentVideo, TimeRange
from videox2l.errors import ModelError, VideoX2LError
from videox2l.models import load_model
from videox2l.store import Archive, IndexReader
from videox2l.store.async_reader import BackgroundFetch
from videox2l.store.fetch import Fetcher
from videox2l.store.low_chunks import LowChunks

logger = logging.getLogger(__name__)

# Nobody waits for a single answer, so none is given without its low KVs while storage is merely slow.
_LOW_DEADLINE_S = 600.0

# Nobody reads along, so questions run in long steps, and a step waits for those that are being prepared. Longer than
# preparing them takes, short beside a read from storage.
_STEP_TOKENS = 512
_GATHER_S = 0.02

# Slow answers do not wait for a full part.
_PART_EVERY_S = 10.0

# How often the job's end is looked for.
_POLL_S = 0.2


class WorkerLostError(VideoX2LError):
    """The process that answered about a video died again and again."""


@dataclass(frozen=True)
class Job:
    """What all actors need to know."""

    settings: BatchSettings
    archive: Archive
    parts: Parts
    device: str
    fingerprint: str


class AnswerStage:
    """Answers unit after unit. Several may be at work at a time, so that the last questions of one leave no gap."""

    def __init__(self, job: Job, tracker: Any) -> None:
        settings = job.settings
        # Ray gives a process one thread; a model on the CPU wants as many as its share of the machine.
        torch.set_num_threads(math.ceil(settings.cpus_per_actor))
        self._job, self._tracker = job, tracker
        self._model = load_model(settings.model, device=job.device, dtype=settings.dtype)
        if self._model.identity.fingerprint != job.fingerprint:
            raise ModelError(
                f"{settings.model} is not the same checkpoint on all machines: one has {job.fingerprint}, another "
                f"{self._model.identity.fingerprint}. Bring the folders to the same state."
            )
        self._fetch = BackgroundFetch(Fetcher(job.archive.storage))
        self._low = LowChunks(job.archive.url, self._fetch, memory_bytes=settings.low_memory_bytes)
        # No conversations: no question goes on from another.
        config = EngineConfig(
            settings.slots,
            step_tokens=_STEP_TOKENS,
            mixed_bytes=settings.mixed_bytes,
            conversation_bytes=0,
            low_deadline_s=_LOW_DEADLINE_S,
            gather_s=_GATHER_S,
            streaming=False,
        )
        self._engine = AnswerEngine(self._model, config)
        # More than are decoded would take the interpreter from the model's thread: measured, a fifth more CPU time.
        self._threads = ThreadPoolExecutor(settings.slots, thread_name_prefix="question")
        self._stopping = threading.Event()
        threading.Thread(target=self._listen, daemon=True, name="videox2l-batch-stop").start()
        tracker.ready.remote()

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Answer what is not stored of ``unit``.

        Errors of questions are rows. What is left, as answers that cannot be stored, ends the job in its own words: Ray
        Data would hand it on as an error of its own.
        """
        unit = Unit.from_json(item["unit"])
        try:
            if not self._stopping.is_set():
                self._answer_all(unit)
        except VideoX2LError as error:
            ray.get(self._tracker.give_up.remote(error))
        return {"result": unit.video_id}

    def _answer_all(self, unit: Unit) -> None:
        done = self._job.parts.answered(unit.video_id)
        asks = [ask for ask in unit.asks if ask.row not in done]
        store = _Store(self._job, self._tracker, unit.video_id)
        try:
            if ray.get(self._tracker.attempt.remote(unit.video_id, len(done))) > MAX_ATTEMPTS:
                raise WorkerLostError(
                    f"the process that answers about this video died {MAX_ATTEMPTS} times. It may not have enough "
                    "memory: use fewer slots, smaller caches, or a machine with more."
                )
        except Exception as error:
            store.add([failed(ask.row, _told(error)) for ask in asks])
        else:
            for index in dict.fromkeys(ask.index for ask in asks):
                self._answer_index(unit.video_id, index, [ask for ask in asks if ask.index == index], store)
        store.flush()

    def _answer_index(self, video_id: str, index: str | None, asks: list[Ask], store: _Store) -> None:
        try:
            video = self._open(video_id, index)
        except Exception as error:
            store.add([failed(ask.row, _told(error)) for ask in asks])
        else:
            self._answer_each(video, asks, store)

    def _answer_each(self, video: ResidentVideo, asks: list[Ask], store: _Store) -> None:
        self._engine.expect(len(asks))
        waiting: set[Future[dict[str, Any] | None]] = {
            self._threads.submit(self._answer_or_error, video, ask) for ask in asks
        }
        while waiting:
            ended, waiting = wait(waiting, _POLL_S)
            store.add([row for future in ended if (row := future.result()) is not None])

    def _answer_or_error(self, video: ResidentVideo, ask: Ask) -> dict[str, Any] | None:
        """A row; nothing if the job is to end."""
        try:
            if self._stopping.is_set():
                return None
            return answered(ask.row, self._answer(video, ask))
        except Exception as error:  # errors are rows: one question never ends the job
            return failed(ask.row, _told(error))
        finally:
            self._engine.expect(-1)

    def _answer(self, video: ResidentVideo, ask: Ask) -> Answer:
        settings = self._job.settings
        selection, generation = settings.selection, settings.generation
        if ask.select is not None:
            selection = replace(selection, select=ask.select)
        if ask.top_k is not None:
            selection = replace(selection, top_k=ask.top_k)
        if ask.max_tokens is not None:
            generation = replace(generation, max_new_tokens=ask.max_tokens)
        limits = None if ask.start is None and ask.end is None else TimeRange.parse(ask.start, ask.end)
        *_, answer = self._engine.stream(video, ask.question, selection, generation, limits)
        assert isinstance(answer, Answer)
        return answer

    def _open(self, video_id: str, index: str | None) -> ResidentVideo:
        archive = self._job.archive
        manifest = archive.open_index(video_id, model_fingerprint=self._job.fingerprint, index_fp=index).manifest
        return ResidentVideo(self._model, IndexReader(archive.storage, manifest, self._fetch), self._low)

    def _listen(self) -> None:
        """Look for the job's end, which may come in the middle of a video with many questions."""
        try:
            while ray.get(self._tracker.goes_on.remote()):
                time.sleep(_POLL_S)
        except Exception:  # the job has gone, and its tracker with it
            logger.debug("The tracker has gone", exc_info=True)
        self._stopping.set()


class _Store:
    """Answers about a video on their way into parts; the driver hears of what is stored."""

    def __init__(self, job: Job, tracker: Any, video_id: str) -> None:
        self._parts, self._part_rows = job.parts, job.settings.part_rows
        self._tracker, self._video_id = tracker, video_id
        self._rows: list[dict[str, Any]] = []
        self._stored = time.monotonic()

    def add(self, rows: list[dict[str, Any]]) -> None:
        self._rows.extend(rows)
        if len(self._rows) >= self._part_rows or time.monotonic() - self._stored > _PART_EVERY_S:
            self.flush()

    def flush(self) -> None:
        self._stored = time.monotonic()
        rows, self._rows = self._rows, []
        if not rows:
            return
        self._parts.write(self._video_id, rows)
        good = [row[ROW] for row in rows if row.get("error") is None]
        bad = [row[ROW] for row in rows if row.get("error") is not None]
        ray.get(self._tracker.stored.remote(good, bad))


def _told(error: Exception) -> Exception:
    """``error``; one that is not a user's goes to the log, with its traceback."""
    if not isinstance(error, VideoX2LError):
        logger.error("A question failed", exc_info=error)
    return error
