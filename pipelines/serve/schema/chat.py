"""A question in OpenAI's shape, and this service's additions: ``video``, ``select``, ``top_k``, ``videox2l``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.serve.schema.common import LooseRequest, Time, VideoName
from videox2l.scorers import select_words

# A million characters of text exceed every supported model's context; tokenising more would only cost time.
MAX_TEXT = 2**20

# Of answers to one question. Each is decoded by itself and takes a place of its own at the engine.
MAX_CHOICES = 8

# OpenAI's own limits.
MAX_STOPS = 4
MAX_TOP_LOGPROBS = 20

# A stop text is looked for behind every token.
MAX_STOP = 1000

# Turns of a conversation; their text meets the model's context long before.
MAX_MESSAGES = 1000

Text = Annotated[str, Field(max_length=MAX_TEXT)]
StopText = Annotated[str, Field(min_length=1, max_length=MAX_STOP)]


class TextPart(LooseRequest):
    """A piece of the question."""

    type: Literal["text"]
    text: Text


class VideoURL(LooseRequest):
    """Which video: ``videox2l://`` and its id, the start of its id, or its file name; ``#t=600,1200`` for a part."""

    url: VideoName


class VideoPart(LooseRequest):
    """The video that the question is about."""

    type: Literal["video_url"]
    video_url: VideoURL


ContentPart = Annotated[TextPart | VideoPart, Field(discriminator="type")]


class Message(LooseRequest):
    """One message. Those of ``user`` and ``assistant`` take turns, and the last one is the question."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | list[ContentPart] | None = None


class StreamOptions(LooseRequest):
    """``include_usage``: one more chunk at the end, without choices, that counts tokens."""

    include_usage: bool = False


class VideoOptions(LooseRequest):
    """The part of the video that the question is about, how its chunks are chosen, and what its answer may cost.

    All may be left out.
    """

    index: str | None = Field(
        default=None,
        max_length=MAX_TEXT,
        description="of a video that was ingested with several settings, the index to ask: its id, or the start of it",
    )
    start: Time | None = Field(
        default=None,
        alias="from",
        description="seconds of video, MM:SS, HH:MM:SS, or an ISO 8601 time by the clock where the recording's start "
        "is known",
    )
    end: Time | None = Field(default=None, alias="to", description="as from")
    policy: str = Field(
        default="top_k",
        max_length=MAX_TEXT,
        description="which of the best chunks are taken: top_k, adaptive (more and more, until the answer stays the "
        "same), threshold, mass or coverage; the last three may be followed by a number from 0 to 1, as in "
        "coverage:0.5",
    )
    correct_drift: bool = Field(default=False, description="take out of the scores what grows or falls with time")
    max_low_chunks: int | None = Field(default=None, ge=0, description="re-load at most so many chunks in detail")
    max_bytes: int | None = Field(default=None, ge=0, description="of their detail, in the archive")
    max_first_token_ms: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="milliseconds from the question's arrival; detail that has not come by then is left out, and the "
        "answer says so",
    )


class ChatCompletionRequest(LooseRequest):
    """A question about a video."""

    model: str
    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    video: VideoName | None = Field(default=None, description="id, start of the id, or file name of the video")
    select: str = Field(
        default="attention",
        max_length=MAX_TEXT,
        description=f"chunks to re-load in detail: {select_words()}",
    )
    top_k: int = Field(default=2, ge=0, description="how many chunks a scorer may choose")
    videox2l: VideoOptions | None = Field(default=None, description="a part of the video, a policy and a budget")
    max_tokens: int | None = Field(default=None, ge=1, description="default 128")
    max_completion_tokens: int | None = Field(default=None, ge=1, description="takes precedence over max_tokens")
    # OpenAI's default is 1; 0 (greedy) makes answers about a video reproducible.
    temperature: float | None = Field(default=None, ge=0, le=2, description="default 0")
    top_p: float | None = Field(default=None, gt=0, le=1, description="default 1")
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    n: int | None = Field(default=None, ge=1, le=MAX_CHOICES, description="answers to the question; default 1")
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = Field(
        default=None, description="texts that end the answer and are not part of it"
    )
    logprobs: bool | None = Field(default=None, description="log probabilities of the answer's tokens")
    top_logprobs: int | None = Field(
        default=None, ge=0, le=MAX_TOP_LOGPROBS, description="with logprobs: of as many likeliest tokens, too"
    )
    stream: bool | None = None
    stream_options: StreamOptions | None = None
