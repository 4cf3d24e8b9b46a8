"""``POST /v1/chat/completions``: a question about a video."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace

from fastapi import Response
from fastapi.responses import JSONResponse, StreamingResponse

from pipelines.serve.access import Access
from pipelines.serve.backend import Asker, Backend, Service
from pipelines.serve.completion import Completion, Event, usage
from pipelines.serve.errors import describe
from pipelines.serve.request import Question, choices_of, read_question
from pipelines.serve.routes.route import errors, guarded_router
from pipelines.serve.schema.chat import ChatCompletionRequest
from pipelines.serve.schema.common import ErrorResponse
from pipelines.serve.schema.completion import ChatCompletion
from pipelines.serve.streams import all_of, merged
from videox2l.answering import Answer

router = guarded_router()

# Proxies such as nginx collect a response before passing it on, which would undo streaming.
_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **errors(400, 404, 409, 503),
    },
)
async def chat_completions(request: ChatCompletionRequest, backend: Service, access: Asker) -> Response:
    """Answer a question about a video; with `stream`, as server-sent events."""
    backend.check_model(request.model)
    asked = read_question(request)
    video = await backend.catalog.find(asked.video, access)
    index = None if asked.index is None else video.index_id(asked.index)
    questions = choices_of(replace(asked, video=video.video_id, index=index, asker=access.name), request.n or 1)
    asking = _Asking(backend, access, questions, await _longest_answer(backend, access, asked))
    if not request.stream:
        return JSONResponse((await asking.whole()).model_dump())
    include_usage = request.stream_options is not None and request.stream_options.include_usage
    stream = await asking.begin(include_usage=include_usage)
    return StreamingResponse(stream, media_type="text/event-stream", headers=_STREAM_HEADERS)


async def _longest_answer(backend: Backend, access: Access, question: Question) -> int:
    """Tokens that an answer may take of what the key has left; nobody needs to know without such a limit."""
    if access.key is None or access.key.tokens_per_minute is None:
        return 0
    # No answer outgrows the model's context, whatever is asked for.
    return min(question.generation.max_new_tokens, (await backend.engines.info()).context_length)


class _Asking:
    """One request on its way to the engines and back, and what is counted of it.

    ``longest``: tokens of an answer at most.
    """

    def __init__(self, backend: Backend, access: Access, questions: Sequence[Question], longest: int) -> None:
        self._backend = backend
        self._questions = questions
        self._key = access.key
        self._completion = Completion(backend.model)
        self._arrived = time.perf_counter()
        self._began = False
        budget = questions[0].selection.budget
        self._budgeted = budget.max_low_chunks is not None or budget.max_bytes is not None
        # Taken now and settled at the end: who leaves before it has used them, for all that is known.
        self._reserved = longest * len(questions)
        self._charge(self._reserved)

    async def whole(self) -> ChatCompletion:
        """All choices as one document."""
        engines = self._backend.engines
        try:
            answers = await all_of([engines.whole(question, self._begin) for question in self._questions])
        except Exception:
            self._settle(0)
            raise
        self._end(answers)
        return self._completion.whole(answers)

    async def begin(self, *, include_usage: bool) -> AsyncIterator[str]:
        """The stream, once each choice has begun: errors before that are still an HTTP status of their own."""
        events = merged([self._backend.engines.stream(question) for question in self._questions])
        first: list[tuple[int, Event]] = []
        try:
            while len({number for number, _ in first}) < len(self._questions):
                first.append(await anext(events))
                self._begin()
        except BaseException as error:
            await events.aclose()
            if isinstance(error, Exception):  # and not a client that leaves
                self._settle(0)
            raise
        return self._server_sent_events(first, events, include_usage=include_usage)

    async def _server_sent_events(
        self,
        first: Sequence[tuple[int, Event]],
        events: AsyncGenerator[tuple[int, Event], None],
        *,
        include_usage: bool,
    ) -> AsyncIterator[str]:
        async with aclosing(events):
            try:
                chunks = self._completion.chunks(
                    self._watched(first, events), len(self._questions), include_usage=include_usage
                )
                async for chunk in chunks:
                    yield f"data: {chunk.model_dump_json()}\n\n"
                yield "data: [DONE]\n\n"
            except Exception as error:  # the status is sent; clients know an event with `error` and raise it
                self._settle(0)
                self._backend.metrics.count("broken_streams_total")
                yield f"data: {ErrorResponse(error=describe(error)[1]).model_dump_json()}\n\n"

    async def _watched(
        self, first: Sequence[tuple[int, Event]], events: AsyncIterator[tuple[int, Event]]
    ) -> AsyncIterator[tuple[int, Event]]:
        answers = []
        for item in first:
            answers += [item[1]] if isinstance(item[1], Answer) else []
            yield item
        async for item in events:
            answers += [item[1]] if isinstance(item[1], Answer) else []
            yield item
        self._end(answers)

    def _begin(self) -> None:
        if not self._began:
            self._began = True
            self._backend.metrics.observe("first_token_seconds", time.perf_counter() - self._arrived)

    def _end(self, answers: Sequence[Answer]) -> None:
        used = usage(answers)
        self._backend.metrics.answered(used, answers, budgeted=self._budgeted)
        self._settle(used.total_tokens)

    def _settle(self, used: int) -> None:
        self._charge(used - self._reserved)
        self._reserved = 0

    def _charge(self, tokens: int) -> None:
        if self._key is not None:
            self._backend.gate.limits.charge(self._key, tokens)
