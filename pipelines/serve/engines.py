"""The engines as the ingress sees them: asked by video, asked again where one was lost, counted all together."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from pipelines.serve.completion import Event
from pipelines.serve.engine import EngineInfo, EngineStats
from pipelines.serve.errors import unwrap
from pipelines.serve.request import Question
from videox2l.answering import Answer
from videox2l.errors import VideoX2LError

logger = logging.getLogger("ray.serve")

# An engine that is up answers at once; a probe that waits longer keeps a balancer waiting.
READY_TIMEOUT_S = 2.0

# A question that meets a dying engine once is unlucky, twice in a row with a cluster that loses machines; three times
# says that the question itself may be what kills them.
TRIES = 3

_LOST = (RayActorError, ReplicaUnavailableError)


class Engines:
    """All replicas. ``on_retry`` hears of every question that is asked again because its engine was lost."""

    def __init__(self, handle: DeploymentHandle, on_retry: Callable[[], None]) -> None:
        self._handle = handle
        self._on_retry = on_retry
        self._info: EngineInfo | None = None

    async def stream(self, question: Question) -> AsyncIterator[Event]:
        """Pieces of text and, last, the answer, from the engine that has the video.

        Another one is asked where that is lost before the first piece. Raises what the engine does, and
        ``BackPressureError`` where all are full.
        """
        for attempt in range(1, TRIES + 1):
            begun = False
            try:
                async with aclosing(self._once(question)) as events:
                    async for event in events:
                        begun = True
                        yield event
            except Exception as error:
                self._check_retry(error, attempt, begun=begun)
            else:
                return

    async def whole(self, question: Question, on_begin: Callable[[], None]) -> Answer:
        """The answer alone, which begins anew where its engine is lost: nobody has seen any of it.

        ``on_begin`` hears of every piece; the first one counts.
        """
        for attempt in range(1, TRIES + 1):
            try:
                async with aclosing(self._once(question)) as events:
                    async for event in events:
                        on_begin()
                        if isinstance(event, Answer):
                            return event
                raise RuntimeError("an engine ended without an answer")
            except Exception as error:
                self._check_retry(error, attempt, begun=False)
        raise AssertionError("the last try returns or raises")

    async def _once(self, question: Question) -> AsyncGenerator[Event, None]:
        ask = self._handle.options(stream=True, session_id=question.video).answer.remote
        # In a context of its own: Serve would give all calls of one HTTP request the same id, by which its router keeps
        # those that wait apart, and several choices would wait for ever.
        answering = contextvars.Context().run(ask, question)
        try:
            async for event in answering:
                if isinstance(event, VideoX2LError):
                    raise event
                yield event
        finally:
            # A client that went away stops its answer; after the end this does nothing.
            answering.cancel()

    def _check_retry(self, error: Exception, attempt: int, *, begun: bool) -> None:
        if begun or attempt == TRIES or not isinstance(unwrap(error), _LOST):
            raise error
        logger.warning("An engine was lost; its question is asked again: %s", error)
        self._on_retry()

    async def info(self) -> EngineInfo:
        """About the model, remembered. Raises ``TimeoutError`` while no engine is up."""
        if self._info is None:
            self._info = await self.probe()
        return self._info

    async def probe(self) -> EngineInfo:
        """From any engine that answers, however many questions wait there. Raises ``TimeoutError`` where none does."""
        found = [info for info in await self._ask_all("info") if isinstance(info, EngineInfo)]
        if not found:
            raise TimeoutError("no engine answers")
        return found[0]

    async def stats(self) -> list[EngineStats]:
        """Of every engine that answers in time."""
        return [stats for stats in await self._ask_all("stats") if isinstance(stats, EngineStats)]

    async def _ask_all(self, method: str) -> list[Any]:
        """What all replicas return, or an exception in its place. Such calls take no place from a question."""
        try:
            response = self._handle.broadcast(method)
            found: list[Any] = await response.results_async(timeout_s=READY_TIMEOUT_S, return_exceptions=True)
        except Exception as error:  # whatever it is: one that is about to go must not hide the others for long
            logger.warning("Engines do not answer: %s", error)
            return []
        return found
