"""An answer in OpenAI's shape, whole or chunk by chunk, and its evidence: ``videox2l``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from pipelines.serve.schema.common import Sparse

FinishReason = Literal["stop", "length"]


class Usage(BaseModel):
    """``prompt_tokens``: the video's memory (prompt and mixed KVs), earlier turns and the question.

    Of several choices, ``completion_tokens`` are those of all.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class RecordedAt(BaseModel):
    """A time span by the clock, ISO 8601."""

    start: str
    end: str


class _TimeSpan(BaseModel):
    start_s: float = Field(description="seconds of video")
    end_s: float
    recorded_at: RecordedAt | None = Field(description="the same by the clock, where the recording's start is known")


class EvidenceSpan(_TimeSpan):
    """A chunk that was re-loaded in detail."""

    chunk: int
    score: float | None


class EvidenceDegraded(_TimeSpan):
    """A chunk that was chosen and could not be re-loaded in detail: the answer has only the gist of it."""

    chunk: int
    reason: str


class EvidenceCovered(_TimeSpan):
    """The part of the video that the answer could see: whole chunks, so it may exceed the range asked about."""

    chunks: int


class Evidence(BaseModel):
    """What an answer rests on and what it cost."""

    video_id: str
    video_name: str
    chunks: int
    covered: EvidenceCovered
    spans: list[EvidenceSpan] = Field(description="re-loaded chunks, in time order")
    degraded: list[EvidenceDegraded] = Field(description="chosen chunks of which the answer has only the gist")
    scores: list[float | None] | None = Field(
        description="relevance of every chunk of the video, where a scorer chose; null outside the time range"
    )
    bytes_read: dict[str, int] = Field(description="fetched from the archive for this question, by level")
    bytes_used: dict[str, int] = Field(description="archive size of the KVs the answer rests on, by level")
    bytes_from: dict[str, dict[str, int]] = Field(
        description="the same by level and where they were: memory, (a cache on) disk, the archive's storage"
    )
    cache: dict[str, bool] = Field(
        description="whether the video was resident, mixed KVs (memory) and KVs of earlier turns (conversation) were "
        "used again"
    )
    milliseconds: dict[str, float] = Field(description="by stage; first_token and total count from the first stage on")


class TopLogprob(BaseModel):
    """A token that could stand here. ``bytes``: its UTF-8, of which a token may hold a part only."""

    token: str
    logprob: float = Field(description="log softmax of the model's raw logits; -9999 where that is minus infinity")
    bytes: list[int]


class ChosenLogprob(TopLogprob):
    """A token of the answer, and the likeliest ones in its place."""

    top_logprobs: list[TopLogprob]


class Logprobs(BaseModel):
    """Of every token, in order."""

    content: list[ChosenLogprob]
    refusal: None = None


class AssistantMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """One of the ``n`` answers."""

    index: int
    message: AssistantMessage
    finish_reason: FinishReason
    logprobs: Logprobs | None = None
    videox2l: Evidence | None = Field(default=None, description="of choices after the first")


class ChatCompletion(BaseModel):
    """A complete answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    videox2l: Evidence = Field(description="of the first choice")


class Delta(Sparse):
    """The next piece of an answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(BaseModel):
    """There is one, except in the usage chunk."""

    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: Logprobs | None = None


class ChatCompletionChunk(Sparse):
    """One event of a streamed answer. A choice's chunk with a ``finish_reason`` carries its evidence."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None
    videox2l: Evidence | None = None


class Model(BaseModel):
    """The model that this service answers with."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "videox2l"
    context_length: int
    fingerprint: str


class ModelList(BaseModel):
    """Always one model."""

    object: Literal["list"] = "list"
    data: list[Model]
