"""The engine: one model that decodes many answers together, the videos resident beside it, and caches for their KVs."""

from __future__ import annotations

import logging
import os
import time
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
from videox2l.answering import AnswerEngine, EngineConfig, ResidentVideo
from videox2l.answering.stopwatch import Stopwatch
from videox2l.errors import (
    ArchiveError,
    ArchiveFormatError,
    CorruptDataError,
    FingerprintMismatchError,
    VideoNotFoundError,
    VideoX2LError,
)
from videox2l.models import load_model
from videox2l.store import Archive, IndexReader
from videox2l.store.async_reader import BackgroundFetch
from videox2l.store.byte_cache import ByteCache, CacheStats
from videox2l.store.disk_cache import DiskCache
from videox2l.store.fetch import Fetcher
from videox2l.store.low_chunks import LowChunks

logger = logging.getLogger("ray.serve")

# A live recording grows by the minute; looking at its manifest costs two small requests.
_FRESH_S = 10.0

# A question waits so long for that look, which takes milliseconds where storage is well. Where it is not, the question
# is answered from what is resident.
_LOOK_S = 1.0
_LOOKS = 4


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


@dataclass(frozen=True)
class EngineInfo:
    """What the ingress tells about the model."""

    fingerprint: str
    context_length: int


class Engine:
    """A Serve deployment. Questions read and wait in threads, so that the event loop stays free."""

    def __init__(self, config: ServiceConfig) -> None:
        self._archive = Archive.open(config.archive_url, storage_options=config.storage_options)
        self._model = load_model(config.model, device=config.device, dtype=config.compute_dtype)
        self._fetch = BackgroundFetch(Fetcher(self._archive.storage))
        self._low = LowChunks(
            self._archive.url, self._fetch, memory_bytes=config.low_memory_bytes, disk=disk_cache(self._archive, config)
        )
        self._videos: ByteCache[str, ResidentVideo] = ByteCache(resident_size, config.resident_bytes)
        self._checked: dict[str, float] = {}
        self._answers = AnswerEngine(
            self._model,
            EngineConfig(
                slots=config.concurrency,
                mixed_bytes=config.mixed_bytes,
                conversation_bytes=config.conversation_bytes,
                low_deadline_s=config.low_deadline_s,
            ),
        )
        self._questions = self._open_questions = 0
        self._looks = ThreadPoolExecutor(_LOOKS, thread_name_prefix="look")
        self._threads = ThreadPoolExecutor(config.max_ongoing_requests, thread_name_prefix="question")

    async def info(self) -> EngineInfo:
        """Answers as soon as the model is loaded."""
        return EngineInfo(self._model.identity.fingerprint, self._model.context_length)

    async def stats(self) -> EngineStats:
        """What it holds and does now."""
        videos, running = self._videos.stats(), self._answers.running
        return EngineStats(
            resident_videos=videos.values,
            resident_bytes=videos.bytes,
            caches={"video": videos, **self._low.stats(), **self._answers.stats()},
            running=running,
            waiting=max(0, self._open_questions - running),
            questions=self._questions,
            tokens_generated=self._answers.tokens,
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
        self._low.close()
        self._fetch.close()
        self._threads.shutdown()
        self._looks.shutdown(wait=False, cancel_futures=True)

    def _answer(self, question: Question, watch: Stopwatch) -> Generator[Event, None, None]:
        watch.lap("queue")
        try:
            video = self._current(question.video)
            watch.lap("open")
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
        except CorruptDataError:
            # Perhaps it was ingested anew under our hands: the next question looks at the archive again.
            self._videos.discard(question.video)
            raise
        if video.doubtful:
            self._videos.discard(question.video)

    def _current(self, video_id: str) -> ResidentVideo:
        """The resident video, loaded anew where its index was replaced or has grown since it was last looked at."""
        open_it = partial(self._open, video_id)
        video = self._videos.get(video_id, open_it)
        now = time.monotonic()
        if now - self._checked.setdefault(video_id, now) < _FRESH_S:
            return video
        self._checked[video_id] = now
        try:
            stored = self._looks.submit(self._find, video_id).result(_LOOK_S).manifest
        except (VideoNotFoundError, FingerprintMismatchError, ArchiveFormatError, CorruptDataError):
            self._videos.discard(video_id)
            raise
        except (TimeoutError, ArchiveError) as error:
            logger.warning("%s: answering from what is resident, the archive cannot be looked at: %s", video_id, error)
            return video
        if stored != video.manifest:
            self._videos.discard(video_id)
            video = self._videos.get(video_id, open_it)
        return video

    def _open(self, video_id: str) -> ResidentVideo:
        self._checked[video_id] = time.monotonic()
        reader = IndexReader(self._archive.storage, self._find(video_id).manifest, self._fetch)
        return ResidentVideo(self._model, reader, self._low)

    def _find(self, video_id: str) -> IndexReader:
        return self._archive.open_index(video_id, model_fingerprint=self._model.identity.fingerprint)


def resident_size(video: ResidentVideo) -> int:
    """Bytes that ``video`` keeps in memory once a question has looked at its high KVs."""
    manifest = video.manifest
    return manifest.spec.bytes_per_token * (manifest.prompt.tokens + manifest.totals["high"].tokens)


def disk_cache(archive: Archive, config: ServiceConfig) -> DiskCache | None:
    """Where copies of low KVs are kept, if anywhere: an archive on a local disk needs none."""
    folder = config.cache_folder
    if not config.low_disk_bytes or (folder is None and archive.storage.is_local):
        return None
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return DiskCache(Path(folder).expanduser() if folder else home / "videox2l" / "low", config.low_disk_bytes)
