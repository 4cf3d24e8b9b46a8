"""From an answer to OpenAI's documents: whole, or chunk by chunk."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from pipelines.serve.schema import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    Delta,
    Evidence,
    EvidenceCovered,
    EvidenceDegraded,
    EvidenceSpan,
    Usage,
)
from videox2l.answering import Answer, TextDelta

Event = TextDelta | Answer
"""What an engine gives: pieces of text and, last, the answer."""


@dataclass(frozen=True)
class Completion:
    """What all documents of one answer have in common."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answer: Answer) -> ChatCompletion:
        """The answer as one document."""
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[Choice(message=AssistantMessage(content=answer.text), finish_reason=answer.finish_reason)],
            usage=usage(answer),
            videox2l=evidence(answer),
        )

    async def chunks(self, events: AsyncIterator[Event], *, include_usage: bool) -> AsyncIterator[ChatCompletionChunk]:
        """The answer piece by piece."""
        yield self._chunk(Delta(role="assistant", content=""))
        async for event in events:
            if isinstance(event, TextDelta):
                yield self._chunk(Delta(content=event.text))
                continue
            last = ChunkChoice(delta=Delta(), finish_reason=event.finish_reason)
            yield self._document([last], videox2l=evidence(event))
            if include_usage:
                yield self._document([], usage=usage(event))

    def _chunk(self, delta: Delta) -> ChatCompletionChunk:
        return self._document([ChunkChoice(delta=delta)])

    def _document(
        self, choices: list[ChunkChoice], usage: Usage | None = None, videox2l: Evidence | None = None
    ) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self.id, created=self.created, model=self.model, choices=choices, usage=usage, videox2l=videox2l
        )


def usage(answer: Answer) -> Usage:
    """Tokens of the mixed memory and the question, and of the answer."""
    receipt = answer.receipt
    prompt = receipt.memory_tokens + receipt.question_tokens
    return Usage(
        prompt_tokens=prompt, completion_tokens=receipt.answer_tokens, total_tokens=prompt + receipt.answer_tokens
    )


def evidence(answer: Answer) -> Evidence:
    """What the answer rests on."""
    receipt = answer.receipt
    return Evidence(
        video_id=answer.video_id,
        video_name=answer.video_name,
        chunks=answer.chunks,
        covered=EvidenceCovered.model_validate(dataclasses.asdict(answer.covered)),
        spans=[EvidenceSpan.model_validate(dataclasses.asdict(span)) for span in answer.spans],
        degraded=[EvidenceDegraded.model_validate(dataclasses.asdict(span)) for span in answer.degraded],
        scores=None if answer.scores is None else list(answer.scores),
        bytes_read=receipt.bytes_read,
        bytes_used=receipt.bytes_used,
        milliseconds={stage: round(value, 3) for stage, value in receipt.milliseconds.items()},
    )
