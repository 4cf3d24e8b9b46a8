"""The engine: one model, the videos resident beside it, and a few threads that answer."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from pipelines.serve.completion import Event
from pipelines.serve.config import ServiceConfig
from pipelines.serve.request import Question
from pipelines.serve.resident import ResidentCache
from pipelines.serve.threads import batched, iterate_in_thread
from videox2l.answering import Answer, ResidentVideo, TextDelta, stream_answer
from videox2l.errors import CorruptDataError, VideoNotFoundError, VideoX2LError
from videox2l.models import load_model
from videox2l.store import Archive, IndexReader
from videox2l.store.async_reader import BackgroundFetch
from videox2l.store.fetch import Fetcher

# A live recording grows by the minute; looking at its manifest costs two small requests.
_FRESH_S = 10.0


@dataclass(frozen=True)
class CacheStats:
    """One tier of a cache: bytes in it, and how often what was wanted was there or not."""

    bytes: int
    hits: int
    misses: int


@dataclass(frozen=True)
class EngineStats:
    """What an engine holds and does, for ``/metrics``. Counts are since it started.

    ``caches``: ``video`` (prompts and high KVs), ``low_memory`` and ``low_disk`` (low KVs as stored), ``mixed`` (mixed
    KVs) and ``conversation`` (KVs of earlier turns). ``running`` questions hold a slot of the model, ``waiting`` ones
    fetch or wait for one.
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
    """A Serve deployment. Answering is synchronous code, so it runs in threads and the event loop stays free."""

    def __init__(self, config: ServiceConfig) -> None:
        self._archive = Archive.open(config.archive_url, storage_options=config.storage_options)
        self._model = load_model(config.model, device=config.device, dtype=config.compute_dtype)
        self._fetch = BackgroundFetch(Fetcher(self._archive.storage))
        self._videos = ResidentCache(self._open, resident_size, config.resident_bytes)
        self._checked: dict[str, float] = {}
        self._running = self._questions = self._tokens = 0
        self._threads = ThreadPoolExecutor(config.concurrency, thread_name_prefix="answer")

    async def info(self) -> EngineInfo:
        """Answers as soon as the model is loaded."""
        return EngineInfo(self._model.identity.fingerprint, self._model.context_length)

    async def stats(self) -> EngineStats:
        """What it holds and does now."""
        videos = self._videos.stats()
        return EngineStats(
            resident_videos=videos.values,
            resident_bytes=videos.bytes,
            caches={"video": CacheStats(videos.bytes, videos.hits, videos.misses)},
            running=self._running,
            waiting=0,
            questions=self._questions,
            tokens_generated=self._tokens,
        )

    async def answer(self, question: Question) -> AsyncIterator[Event | VideoX2LError]:
        """Pieces of text and, last, the :class:`Answer`. ``question.video`` is an id.

        A user's error comes as an item: raised, it would fill Serve's log with a traceback for every typing error.
        Ends its work when it is cancelled.
        """
        work = partial(self._answer, question, time.perf_counter())
        async with aclosing(iterate_in_thread(work, self._threads)) as events:
            try:
                async for event in events:
                    yield event
            except VideoX2LError as error:
                yield error

    def _answer(self, question: Question, arrived: float) -> Generator[Event, None, None]:
        started = time.perf_counter()
        self._questions += 1
        self._running += 1
        try:
            video = self._current(question.video)
            opened = time.perf_counter()
            answer: list[Answer] = []
            events = stream_answer(
                self._model,
                video,
                question.text,
                question.selection,
                question.generation,
                question.time_range,
                question.history,
            )
            yield from batched(_deltas(events, answer))
        except CorruptDataError:
            # Perhaps it was ingested anew under our hands: the next question looks at the archive again.
            self._videos.discard(question.video)
            raise
        finally:
            self._running -= 1
        self._tokens += answer[0].receipt.answer_tokens
        if lost_low(video, answer[0]):
            self._videos.discard(question.video)
        yield with_stages(answer[0], queue=(started - arrived) * 1000, open=(opened - started) * 1000)

    def _current(self, video_id: str) -> ResidentVideo:
        """The resident video, loaded anew where its index was replaced or has grown since it was last looked at."""
        video = self._videos.get(video_id)
        now = time.monotonic()
        if now - self._checked.setdefault(video_id, now) < _FRESH_S:
            return video
        self._checked[video_id] = now
        try:
            stored = self._find(video_id).manifest
        except VideoNotFoundError:
            self._videos.discard(video_id)
            raise
        if stored != video.manifest:
            self._videos.discard(video_id)
            video = self._videos.get(video_id)
        return video

    def _open(self, video_id: str) -> ResidentVideo:
        self._checked[video_id] = time.monotonic()
        reader = IndexReader(self._archive.storage, self._find(video_id).manifest, self._fetch)
        return ResidentVideo(self._model, reader)

    def _find(self, video_id: str) -> IndexReader:
        return self._archive.open_index(video_id, model_fingerprint=self._model.identity.fingerprint)


def resident_size(video: ResidentVideo) -> int:
    """Bytes that ``video`` keeps in memory once a question has looked at its high KVs."""
    manifest = video.manifest
    return manifest.spec.bytes_per_token * (manifest.prompt.tokens + manifest.totals["high"].tokens)


def lost_low(video: ResidentVideo, answer: Answer) -> bool:
    """Whether low KVs were not where the manifest says: as with corrupt data, the archive may have changed.

    A level that the manifest knows to be removed is no reason to load the video again.
    """
    return any("low" in video.manifest.chunks[span.chunk].levels for span in answer.degraded)


def with_stages(answer: Answer, **milliseconds: float) -> Answer:
    """``answer`` with stages that came before those it has."""
    receipt = dataclasses.replace(answer.receipt, milliseconds={**milliseconds, **answer.receipt.milliseconds})
    return dataclasses.replace(answer, receipt=receipt)


def _deltas(events: Iterator[TextDelta | Answer], answer: list[Answer]) -> Iterator[TextDelta]:
    """The pieces of text; the answer goes into ``answer``."""
    for event in events:
        if isinstance(event, Answer):
            answer.append(event)
        else:
            yield event
