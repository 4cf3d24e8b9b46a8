"""The HTTP side: check the request, find the video, ask its engine, give the answer in OpenAI's shapes."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle
from starlette.exceptions import HTTPException

import videox2l
from pipelines.serve.completion import Completion, Event
from pipelines.serve.config import ServiceConfig
from pipelines.serve.engine import EngineInfo
from pipelines.serve.errors import ModelNotFoundError, describe, error_response
from pipelines.serve.request import Question, read_question
from pipelines.serve.schema import (
    ChatCompletion,
    ChatCompletionRequest,
    ErrorResponse,
    Model,
    ModelList,
    Status,
    Video,
    VideoList,
)
from videox2l.answering import Answer
from videox2l.errors import VideoX2LError
from videox2l.store import Archive, VideoEntry

# An engine that is up answers at once; a probe that waits longer keeps a balancer waiting.
READY_TIMEOUT_S = 2.0

# Proxies such as nginx collect a response before passing it on, which would undo streaming.
_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorResponse, "description": "The request or the question cannot be answered as it stands"},
    404: {"model": ErrorResponse, "description": "No such video or model"},
    409: {"model": ErrorResponse, "description": "The video was ingested with another model"},
    503: {"model": ErrorResponse, "description": "Overloaded or not ready; `Retry-After` says when to try again"},
}


class _Route(APIRoute):
    """A route whose every exception becomes an error document."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:  # whatever it is, the client gets a document, and only the log a traceback
                return error_response(error)

        return answer


app = FastAPI(title="Video-X²L", version=videox2l.__version__, description="Ask questions of very long videos.")
app.router.route_class = _Route


@app.exception_handler(HTTPException)
async def _http_error(_: Request, error: HTTPException) -> JSONResponse:
    """Unknown paths and methods, which no route handles."""
    return error_response(error)


class Ingress:
    """A Serve deployment, with the routes of ``app``. Holds no model: several may run beside any number of engines."""

    def __init__(self, config: ServiceConfig, engine: DeploymentHandle) -> None:
        self._archive = Archive.open(config.archive_url, storage_options=config.storage_options)
        self._model = config.served_name
        self._engine = engine
        self._info: EngineInfo | None = None
        self._created = int(time.time())

    @app.post(
        "/v1/chat/completions",
        response_model=ChatCompletion,
        responses={200: {"content": {"text/event-stream": {}}}, **_ERRORS},
    )
    async def chat_completions(self, request: ChatCompletionRequest) -> Response:
        """Answer one question about one video; with `stream`, as server-sent events."""
        self._check_model(request.model)
        question = await self._resolve(read_question(request))
        answering = self._engine.options(stream=True, session_id=question.video).answer.remote(question)
        completion = Completion(self._model)
        events = _raise_errors(answering)
        try:
            # Errors show before the first item; taken here, they are still an HTTP status of their own.
            first = await anext(events)
            if not request.stream:
                answer = await _last(first, events)
                return JSONResponse(completion.whole(answer).model_dump())
        except BaseException:
            answering.cancel()
            raise
        include_usage = request.stream_options is not None and request.stream_options.include_usage
        stream = _server_sent_events(completion, _chain(first, events), answering, include_usage=include_usage)
        return StreamingResponse(stream, media_type="text/event-stream", headers=_STREAM_HEADERS)

    @app.get("/v1/models", response_model=ModelList, responses={503: _ERRORS[503]})
    async def models(self) -> ModelList:
        """The model of this service."""
        return ModelList(data=[await self._describe_model()])

    @app.get("/v1/models/{name:path}", response_model=Model, responses={404: _ERRORS[404], 503: _ERRORS[503]})
    async def model(self, name: str) -> Model:
        """The model, by its name."""
        self._check_model(name)
        return await self._describe_model()

    @app.get("/v1/videos", response_model=VideoList, responses={503: _ERRORS[503]})
    async def videos(self) -> VideoList:
        """All videos of the archive, by name."""
        fingerprint = (await self._engine_info()).fingerprint
        entries = await asyncio.to_thread(self._archive.videos)
        return VideoList(data=[_describe_video(entry, fingerprint) for entry in entries])

    @app.get("/healthz", response_model=Status)
    async def healthz(self) -> Status:
        """The HTTP side is alive."""
        return Status(status="ok")

    @app.get("/readyz", response_model=Status, responses={503: _ERRORS[503]})
    async def readyz(self) -> Status:
        """An engine has loaded the model and answers."""
        try:
            await self._ask_engine()
        except BackPressureError:
            return Status(status="busy")
        return Status(status="ready")

    def _check_model(self, name: str) -> None:
        if name != self._model:
            raise ModelNotFoundError(
                f"no model {name!r}: this service answers with {self._model!r}", "model", "model_not_found"
            )

    async def _resolve(self, question: Question) -> Question:
        video_id = await asyncio.to_thread(self._archive.resolve, question.video)
        return dataclasses.replace(question, video=video_id)

    async def _describe_model(self) -> Model:
        info = await self._engine_info()
        return Model(
            id=self._model, created=self._created, context_length=info.context_length, fingerprint=info.fingerprint
        )

    async def _engine_info(self) -> EngineInfo:
        if self._info is None:
            self._info = await self._ask_engine()
        return self._info

    async def _ask_engine(self) -> EngineInfo:
        info: EngineInfo = await asyncio.wait_for(self._engine.info.remote(), READY_TIMEOUT_S)
        return info


async def _raise_errors(answering: AsyncIterator[Event | VideoX2LError]) -> AsyncIterator[Event]:
    async for event in answering:
        if isinstance(event, VideoX2LError):
            raise event
        yield event


async def _chain(first: Event, rest: AsyncIterator[Event]) -> AsyncIterator[Event]:
    yield first
    async for event in rest:
        yield event


async def _last(first: Event, rest: AsyncIterator[Event]) -> Answer:
    last = first
    async for event in rest:
        last = event
    assert isinstance(last, Answer)
    return last


async def _server_sent_events(
    completion: Completion, events: AsyncIterator[Event], answering: Any, *, include_usage: bool
) -> AsyncIterator[str]:
    try:
        async for chunk in completion.chunks(events, include_usage=include_usage):
            yield f"data: {chunk.model_dump_json()}\n\n"
        yield "data: [DONE]\n\n"
    except Exception as error:  # the status is sent; clients know an event with `error` and raise it
        yield f"data: {ErrorResponse(error=describe(error)[1]).model_dump_json()}\n\n"
    finally:
        # A client that went away stops its answer; after the end this does nothing.
        answering.cancel()


def _describe_video(entry: VideoEntry, fingerprint: str) -> Video:
    fitting = [index for index in entry.indexes if index.model_fingerprint == fingerprint]
    index = (fitting or entry.indexes)[-1]
    return Video(
        id=entry.video_id,
        name=index.name,
        duration_s=index.duration_s,
        chunks=index.chunks,
        answerable=len(fitting) == 1,
    )
