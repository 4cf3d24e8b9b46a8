"""From answers to OpenAI's documents: whole, or chunk by chunk."""

from __future__ import annotations

import dataclasses
import math
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.serve.schema.completion import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChosenLogprob,
    ChunkChoice,
    Delta,
    Evidence,
    EvidenceCovered,
    EvidenceDegraded,
    EvidenceSpan,
    Logprobs,
    TopLogprob,
    Usage,
)
from videox2l.answering import Answer, TextDelta, TokenLogprob

Event = TextDelta | Answer
"""What an engine gives: pieces of text and, last, the answer."""

# JSON has no infinity; what OpenAI's API gives for a token that cannot come.
_NO_LOGPROB = -9999.0


@dataclass(frozen=True)
class Completion:
    """What all documents of one request have in common."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answers: Sequence[Answer]) -> ChatCompletion:
        """All choices as one document."""
        return ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[_choice(index, answer) for index, answer in enumerate(answers)],
            usage=usage(answers),
            videox2l=evidence(answers[0]),
        )

    async def chunks(
        self, events: AsyncIterator[tuple[int, Event]], choices: int, *, include_usage: bool
    ) -> AsyncIterator[ChatCompletionChunk]:
        """The choices piece by piece. ``events`` come with the index of their choice, in any order of choices."""
        answers = []
        for index in range(choices):
            yield self._chunk(ChunkChoice(index=index, delta=Delta(role="assistant", content="")))
        async for index, event in events:
            if isinstance(event, TextDelta):
                delta = Delta(content=event.text)
                yield self._chunk(ChunkChoice(index=index, delta=delta, logprobs=logprobs(event.logprobs or None)))
                continue
            answers.append(event)
            end = ChunkChoice(index=index, delta=Delta(), finish_reason=event.finish_reason)
            yield self._chunk(end, videox2l=evidence(event))
        if include_usage:
            yield self._chunk(usage=usage(answers))

    def _chunk(
        self, *choices: ChunkChoice, usage: Usage | None = None, videox2l: Evidence | None = None
    ) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self.id, created=self.created, model=self.model, choices=list(choices), usage=usage, videox2l=videox2l
        )


def _choice(index: int, answer: Answer) -> Choice:
    return Choice(
        index=index,
        message=AssistantMessage(content=answer.text),
        finish_reason=answer.finish_reason,
        logprobs=logprobs(answer.logprobs),
        videox2l=evidence(answer) if index else None,
    )


def logprobs(tokens: Sequence[TokenLogprob] | None) -> Logprobs | None:
    """None where they were not asked for."""
    if tokens is None:
        return None
    return Logprobs(
        content=[
            ChosenLogprob(**_likelihood(token), top_logprobs=[TopLogprob(**_likelihood(other)) for other in token.top])
            for token in tokens
        ]
    )


def _likelihood(token: TokenLogprob) -> dict[str, Any]:
    logprob = token.logprob if math.isfinite(token.logprob) else _NO_LOGPROB
    return {"token": token.token, "logprob": logprob, "bytes": list(token.bytes)}


def usage(answers: Sequence[Answer]) -> Usage:
    """Tokens of the mixed memory and the dialogue, which all choices share, and of the answers."""
    receipt = answers[0].receipt
    prompt = receipt.memory_tokens + receipt.question_tokens
    completion = sum(answer.receipt.answer_tokens for answer in answers)
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


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
        bytes_from=receipt.bytes_from,
        cache=receipt.cache,
        milliseconds={stage: round(value, 3) for stage, value in receipt.milliseconds.items()},
    )
