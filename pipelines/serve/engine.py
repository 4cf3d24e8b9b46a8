"""The engine: one model that decodes many answers together, the videos resident beside it, and caches for their KVs."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipelines.serve.completion import Event
from pipelines.serve.config import ServiceConfig
from pipelines.serve.request import Question
from pipelines.serve.threads import iterate_in_thread
from videox2l.answering import AnswerEngine, EngineConfig
from videox2l.answering.residents import ResidentVideos
from videox2l.answering.stopwatch import Stopwatch
from videox2l.config import SelectionConfig
from videox2l.errors import VideoX2LError
from videox2l.models import load_model
from videox2l.paths import expanded
from videox2l.store import Archive
from videox2l.store.byte_cache import CacheStats
from videox2l.store.calibration import CalibrationWatch
from videox2l.store.disk_cache import DiskCache
from videox2l.store.spec import IndexSpec

logger = logging.getLogger(__name__)

_TOLD = 16


@dataclass(frozen=True)
class EngineStats:
    """What an engine holds and does, for ``/metrics``. Counts are since it started.

    ``caches``: ``video`` (prompts and high KVs), ``low_memory`` and ``low_disk`` (low KVs as stored), ``mixed`` (mixed
    KVs) and ``conversation`` (KVs of earlier turns). ``running`` answers are being decoded, ``waiting`` questions fetch
    or wait for a place.
    """

    resident_videos: int
    resident_bytes: int
    caches: dict[str, CacheStats]
    running: int
    waiting: int
    questions: int
    tokens_generated: int
    pid: int


@dataclass(frozen=True)
class EngineInfo:
    """What the ingress tells about the model.

    ``calibration``: the archive's for this model, as of :attr:`CalibrationWatch.state`; ``outside``: what was asked so
    far that it did not find good enough.
    """

    fingerprint: str
    context_length: int
    calibration: str
    outside: tuple[str, ...]


class Engine:
    """A Serve deployment. Questions read and wait in threads, so that the event loop stays free."""

    def __init__(self, config: ServiceConfig) -> None:
        archive = Archive.open(config.archive_url, storage_options=config.storage_options)
        self._model = load_model(config.model, device=config.device, dtype=config.compute_dtype)
        self._videos = ResidentVideos(
            archive,
            self._model,
            resident_bytes=config.resident_bytes,
            low_memory_bytes=config.low_memory_bytes,
            disk=disk_cache(archive, config),
        )
        self._answers = AnswerEngine(
            self._model,
            EngineConfig(
                slots=config.concurrency,
                mixed_bytes=config.mixed_bytes,
                conversation_bytes=config.conversation_bytes,
                low_deadline_s=config.low_deadline_s,
            ),
        )
        self._calibration = CalibrationWatch(archive.storage, self._model.identity.fingerprint)
        self._calibration_state = self._calibration.state  # read here and now, where nobody waits
        self._outside: list[str] = []
        self._questions = self._open_questions = 0
        self._threads = ThreadPoolExecutor(config.max_ongoing_requests, thread_name_prefix="question")

    async def info(self) -> EngineInfo:
        """Answers as soon as the model is loaded."""
        return EngineInfo(
            self._model.identity.fingerprint,
            self._model.context_length,
            self._calibration_state,
            tuple(self._outside),
        )

    async def stats(self) -> EngineStats:
        """What it holds and does now."""
        caches, running = {**self._videos.stats(), **self._answers.stats()}, self._answers.running
        return EngineStats(
            resident_videos=caches["video"].values,
            resident_bytes=caches["video"].bytes,
            caches=caches,
            running=running,
            waiting=max(0, self._open_questions - running),
            questions=self._questions,
            tokens_generated=self._answers.tokens,
            pid=os.getpid(),
        )

    async def answer(self, question: Question) -> AsyncIterator[Event | VideoX2LError]:
        """Pieces of text and, last, the :class:`~videox2l.answering.Answer`. ``question.video`` is an id.

        A user's error comes as an item: raised, it would fill Serve's log with a traceback for every typing error.
        Ends its work when it is cancelled.
        """
        self._questions += 1
        self._open_questions += 1
        work = partial(self._answer, question, Stopwatch())
        try:
            async with aclosing(iterate_in_thread(work, self._threads)) as events:
                try:
                    async for event in events:
                        yield event
                except VideoX2LError as error:
                    yield error
        finally:
            self._open_questions -= 1

    def close(self) -> None:
        """End all threads; questions under way raise."""
        self._answers.close()
        self._videos.close()
        self._threads.shutdown()

    def _answer(self, question: Question, watch: Stopwatch) -> Generator[Event, None, None]:
        watch.lap("queue")
        with self._videos.use(question.video, question.index) as video:
            watch.lap("open")
            self._check_calibration(video.manifest.spec, question.selection)
            yield from self._answers.stream(
                video,
                question.text,
                question.selection,
                question.generation,
                question.time_range,
                question.history,
                question.asker,
                watch,
            )

    def _check_calibration(self, spec: IndexSpec, selection: SelectionConfig) -> None:
        for said in self._calibration.news(spec.compression, spec.codecs, selection):
            logger.warning("Outside of the archive's calibration: %s", said)
            # Settings of requests have no end; what readiness tells has.
            if len(self._outside) < _TOLD:
                self._outside.append(said)


def disk_cache(archive: Archive, config: ServiceConfig) -> DiskCache | None:
    """Where copies of low KVs are kept, if anywhere: an archive on a local disk needs none."""
    folder = config.cache_folder
    if not config.low_disk_bytes or (folder is None and archive.storage.is_local):
        return None
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return DiskCache(expanded(folder) if folder else home / "videox2l" / "low", config.low_disk_bytes)
