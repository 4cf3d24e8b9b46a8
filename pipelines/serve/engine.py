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
from videox2l.errors import CorruptDataError, VideoX2LError
from videox2l.models import load_model
from videox2l.store import Archive


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
        self._videos = ResidentCache(self._open, resident_size, config.resident_bytes)
        self._threads = ThreadPoolExecutor(config.concurrency, thread_name_prefix="answer")

    async def info(self) -> EngineInfo:
        """Answers as soon as the model is loaded."""
        return EngineInfo(self._model.identity.fingerprint, self._model.context_length)

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
        try:
            video = self._videos.get(question.video)
            opened = time.perf_counter()
            answer: list[Answer] = []
            events = stream_answer(
                self._model, video, question.text, question.selection, question.generation, question.time_range
            )
            yield from batched(_texts(events, answer))
        except CorruptDataError:
            # Perhaps it was ingested anew under our hands: the next question looks at the archive again.
            self._videos.discard(question.video)
            raise
        if lost_low(video, answer[0]):
            self._videos.discard(question.video)
        yield with_stages(answer[0], queue=(started - arrived) * 1000, open=(opened - started) * 1000)

    def _open(self, video_id: str) -> ResidentVideo:
        reader = self._archive.open_index(video_id, model_fingerprint=self._model.identity.fingerprint)
        return ResidentVideo(self._model, reader)


def resident_size(video: ResidentVideo) -> int:
    """Bytes that ``video`` keeps in memory once a question has looked at its high KVs."""
    return video.manifest.prompt.length + video.level_bytes("high", range(video.chunks))


def lost_low(video: ResidentVideo, answer: Answer) -> bool:
    """Whether low KVs were not where the manifest says: as with corrupt data, the archive may have changed.

    A level that the manifest knows to be removed is no reason to load the video again.
    """
    return any("low" in video.manifest.chunks[span.chunk].levels for span in answer.degraded)


def with_stages(answer: Answer, **milliseconds: float) -> Answer:
    """``answer`` with stages that came before those it has."""
    receipt = dataclasses.replace(answer.receipt, milliseconds={**milliseconds, **answer.receipt.milliseconds})
    return dataclasses.replace(answer, receipt=receipt)


def _texts(events: Iterator[TextDelta | Answer], answer: list[Answer]) -> Iterator[str]:
    """The pieces of text; the answer goes into ``answer``."""
    for event in events:
        if isinstance(event, Answer):
            answer.append(event)
        else:
            yield event.text
