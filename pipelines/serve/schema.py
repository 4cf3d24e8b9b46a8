"""OpenAI's chat completion documents, as far as this service supports them, and its own additions.

Additions to a request: ``video``, ``select``, ``top_k``, ``videox2l`` (the time range). To an answer: ``videox2l``, the
evidence.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

# A million characters of text exceed every supported model's context; tokenising more would only cost time.
MAX_TEXT = 2**20

# The longest ISO 8601 time has 35 characters.
MAX_TIME = 100

# Names and addresses of videos; the longest path of common file systems.
MAX_VIDEO = 4096

Text = Annotated[str, Field(max_length=MAX_TEXT)]
VideoName = Annotated[str, Field(min_length=1, max_length=MAX_VIDEO)]


class _Request(BaseModel):
    # Strict: a "1" or true where a number is due is a client's mistake and should be seen. Fields beyond those listed
    # are kept, since whether they may be ignored depends on their values (see request.py).
    model_config = ConfigDict(strict=True, extra="allow")


class TextPart(_Request):
    """A piece of the question."""

    type: Literal["text"]
    text: Text


class VideoURL(_Request):
    """Which video: ``videox2l://`` and its id, the start of its id, or its file name."""

    url: VideoName


class VideoPart(_Request):
    """The video that the question is about."""

    type: Literal["video_url"]
    video_url: VideoURL


ContentPart = Annotated[TextPart | VideoPart, Field(discriminator="type")]


class Message(_Request):
    """One message. For now a request has exactly one, of role ``user``."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | list[ContentPart] | None = None


class StreamOptions(_Request):
    """``include_usage``: one more chunk at the end, without choices, that counts tokens."""

    include_usage: bool = False


Time = Annotated[str, Field(max_length=MAX_TIME)] | Annotated[float, Field(allow_inf_nan=False)]


class TimeLimits(_Request):
    """The part of the video that the question is about, from ``from`` up to ``to``; either may be left out."""

    start: Time | None = Field(
        default=None,
        alias="from",
        description="seconds of video, MM:SS, HH:MM:SS, or an ISO 8601 time by the clock where the recording's start "
        "is known",
    )
    end: Time | None = Field(default=None, alias="to", description="as from")


class ChatCompletionRequest(_Request):
    """A question about a video."""

    model: str
    messages: list[Message] = Field(min_length=1)
    video: VideoName | None = Field(default=None, description="id, start of the id, or file name of the video")
    select: str = Field(
        default="attention",
        max_length=MAX_TEXT,
        description="chunks to re-load in detail: attention, random, all, none, or chunk numbers such as 0,4-6",
    )
    top_k: int = Field(default=2, ge=0, description="how many chunks attention or random may choose")
    videox2l: TimeLimits | None = Field(default=None, description="limits the question to a part of the video")
    max_tokens: int | None = Field(default=None, ge=1, description="default 128")
    max_completion_tokens: int | None = Field(default=None, ge=1, description="takes precedence over max_tokens")
    # OpenAI's default is 1; 0 (greedy) makes answers about a video reproducible.
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stream: bool = False
    stream_options: StreamOptions | None = None


class Usage(BaseModel):
    """``prompt_tokens``: the video's memory (prompt and mixed KVs) and the question."""

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
    milliseconds: dict[str, float] = Field(description="by stage; first_token and total count from the first stage on")


class AssistantMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    """There is always one."""

    index: Literal[0] = 0
    message: AssistantMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class ChatCompletion(BaseModel):
    """A complete answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    videox2l: Evidence


class _Sparse(BaseModel):
    # Clients take a field of a chunk that is there, even as null, for news.
    @model_serializer(mode="wrap")
    def _without_none(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class Delta(_Sparse):
    """The next piece of an answer."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(BaseModel):
    """There is one, except in the usage chunk."""

    index: Literal[0] = 0
    delta: Delta
    finish_reason: Literal["stop", "length"] | None = None
    logprobs: None = None


class ChatCompletionChunk(_Sparse):
    """One event of a streamed answer. The chunk with a ``finish_reason`` carries the evidence."""

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


class Video(BaseModel):
    """A video of the archive. ``answerable``: it was ingested with the served model."""

    id: str
    object: Literal["video"] = "video"
    name: str
    duration_s: float
    chunks: int
    answerable: bool


class VideoList(BaseModel):
    """All videos, by name."""

    object: Literal["list"] = "list"
    data: list[Video]


class Status(BaseModel):
    """How a part of the service is."""

    status: str


class ErrorBody(BaseModel):
    """What was wrong, where, and what to do about it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """OpenAI's error document."""

    error: ErrorBody
