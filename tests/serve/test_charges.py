"""What of a request counts against its key's tokens a minute, without engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from pipelines.serve.access import Access
from pipelines.serve.config import ServiceConfig
from pipelines.serve.keys import ApiKey, new_key
from pipelines.serve.metrics import ServiceMetrics
from pipelines.serve.request import Question
from pipelines.serve.routes.chat import chat_completions
from pipelines.serve.schema.chat import ChatCompletionRequest
from videox2l.answering import Answer, Covered, Receipt, TextDelta
from videox2l.errors import QuestionError

CONTEXT = 500
KEY = new_key("alice", tokens_per_minute=600)[1]
RECEIPT = Receipt({}, {}, {}, {}, {}, memory_tokens=40, question_tokens=5, answer_tokens=5)
ANSWER = Answer("yes", "stop", "v", "v.mp4", "?", (), (), 1, Covered(1, 0.0, 1.0), None, RECEIPT)


class Service:
    """A backend whose engines give ``TextDelta("yes")``, then ``end``: the answer, an error, or nothing for a while."""

    def __init__(self, end: Answer | Exception | None, *, begins: bool = True) -> None:
        self.end, self.begins = end, begins
        self.model, self.metrics = "tiny", ServiceMetrics()
        self.engines = self.catalog = self
        self.gate = Gate()

    def check_model(self, _: str) -> None: ...

    async def find(self, *_: object) -> SimpleNamespace:
        return SimpleNamespace(video_id="v")

    async def info(self) -> SimpleNamespace:
        return SimpleNamespace(context_length=CONTEXT)

    async def stream(self, _: Question) -> AsyncIterator[TextDelta | Answer]:
        if self.begins:
            yield TextDelta("yes")
        if isinstance(self.end, Exception):
            raise self.end
        if self.end is None:
            await asyncio.sleep(3600)
        else:
            yield self.end

    async def whole(self, question: Question, on_begin: Callable[[], None]) -> Answer:
        *_, last = [event async for event in self.stream(question)]
        on_begin()
        return last

    @property
    def charged(self) -> int:
        """Tokens that count against the key."""
        return self.gate.charged


class Gate:
    """Counts what is charged in place of :class:`~pipelines.serve.limits.Limits`."""

    def __init__(self) -> None:
        self.limits, self.charged = self, 0

    def charge(self, _: ApiKey, tokens: int) -> None:
        self.charged += tokens


async def ask(service: Service, **fields: Any) -> None:
    message = {"role": "user", "content": "?"}
    request = ChatCompletionRequest.model_validate({"model": "tiny", "video": "v", "messages": [message], **fields})
    access = Access(ServiceConfig(archive_url="any"), KEY)
    reply = await chat_completions(request, service, access)  # type: ignore[arg-type]
    if isinstance(reply, StreamingResponse):
        async for _ in reply.body_iterator:
            pass


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_counts_what_its_usage_says(stream: bool) -> None:
    service = Service(ANSWER)
    asyncio.run(ask(service, stream=stream, max_tokens=10**400, n=2))
    assert service.charged == 55


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("begins", [False, True])
def test_what_has_no_answer_counts_nothing(stream: bool, begins: bool) -> None:
    service = Service(QuestionError("cannot be asked"), begins=begins)
    if stream and begins:
        asyncio.run(ask(service, stream=stream))  # the error is an event of the stream
    else:
        with pytest.raises(QuestionError):
            asyncio.run(ask(service, stream=stream))
    assert service.charged == 0


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_has_used_what_the_answer_could_have_at_most(stream: bool) -> None:
    for limit, charged in ((100, 100), (10**9, CONTEXT)):
        service = Service(None)
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(ask(service, stream=stream, max_tokens=limit), 0.05))
        assert service.charged == charged
