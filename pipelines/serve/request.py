"""From a chat completion request to the question it asks. What would change the answer and is not done is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from pipelines.serve.dialogue import read_turns
from pipelines.serve.errors import RequestError
from pipelines.serve.schema.chat import ChatCompletionRequest, VideoOptions, VideoPart
from pipelines.serve.video_url import SCHEME, VideoAddress, parse_video_url
from videox2l.answering import TimeRange, Turn
from videox2l.config import Budget, GenerationConfig, SelectionConfig

# Fields that leave the answer as it is: bookkeeping of OpenAI's platform, and preferences about speed and price.
_IGNORED = frozenset(
    "user metadata store service_tier safety_identifier prompt_cache_key prompt_cache_retention "
    "parallel_tool_calls name".split()
)
# Values by which a field asks for nothing that is not done anyway. Clients send answers back as they came.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "functions": ([],),
    "tool_calls": ([],),
    "annotations": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "include_obfuscation": (False,),
}


@dataclass(frozen=True)
class Question:
    """What an engine needs to answer.

    ``video`` and ``index`` are as the user wrote them, or ids once the ingress has looked them up.
    ``asker``: whose conversation it continues; what is kept of one asker's turns serves no other.
    """

    video: str
    text: str
    selection: SelectionConfig
    generation: GenerationConfig
    time_range: TimeRange | None = None
    history: tuple[Turn, ...] = ()
    asker: str = ""
    index: str | None = None


def read_question(request: ChatCompletionRequest) -> Question:
    """Raises :class:`RequestError`, :class:`~videox2l.errors.ConfigError` and
    :class:`~videox2l.answering.TimeRangeError`, naming the field."""
    _refuse_unsupported(request)
    history, text = read_turns(request.messages)
    address = _address(request)
    return Question(
        video=address.video,
        text=text,
        selection=_selection(request),
        generation=_generation(request),
        time_range=_time_range(address, request.videox2l),
        history=history,
        index=None if request.videox2l is None else request.videox2l.index,
    )


def choices_of(question: Question, count: int) -> list[Question]:
    """``question`` as often as answers to it are wanted. With a seed, each but the first has one derived from it."""
    seed = question.generation.seed
    if seed is None:
        return [question] * count
    seeds = [seed, *(_derived_seed(seed, number) for number in range(1, count))]
    return [replace(question, generation=replace(question.generation, seed=each)) for each in seeds]


def _derived_seed(seed: int, number: int) -> int:
    # Not seed + number: whoever asks again with the next seed should not get the same answers, shifted by one.
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:7], "big")


def _generation(request: ChatCompletionRequest) -> GenerationConfig:
    if request.top_logprobs is not None and request.top_logprobs > 0 and not request.logprobs:
        raise RequestError("top_logprobs needs logprobs: true", "top_logprobs")
    default = GenerationConfig()
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    return GenerationConfig(
        max_new_tokens=request.max_completion_tokens or request.max_tokens or default.max_new_tokens,
        temperature=default.temperature if request.temperature is None else request.temperature,
        top_p=default.top_p if request.top_p is None else request.top_p,
        seed=request.seed,
        stop=stop,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
    )


def _selection(request: ChatCompletionRequest) -> SelectionConfig:
    options = request.videox2l
    if options is None:
        return SelectionConfig(request.select, request.top_k)
    budget = Budget(options.max_low_chunks, options.max_bytes, options.max_first_token_ms)
    return SelectionConfig(request.select, request.top_k, budget, options.policy, options.correct_drift)


def _time_range(address: VideoAddress, options: VideoOptions | None) -> TimeRange | None:
    limited = options is not None and (options.start is not None or options.end is not None)
    if limited and address.time_range is not None:
        raise RequestError("the video's address (#t=) and videox2l both limit the question: use one", "videox2l")
    if options is None or not limited:
        return address.time_range
    return TimeRange.parse(options.start, options.end)


def _refuse_unsupported(request: ChatCompletionRequest) -> None:
    refused = sorted({name for name, value in _extra_fields(request) if _matters(name, value)})
    if refused:
        raise RequestError(
            f"not supported: {', '.join(refused)}. Leave the field out, or check its spelling.",
            param=refused[0],
            code="unsupported_parameter",
        )


def _extra_fields(node: Any) -> Iterator[tuple[str, Any]]:
    """Fields, at any depth, that the schema does not list."""
    if isinstance(node, BaseModel):
        yield from (node.model_extra or {}).items()
        for name in type(node).model_fields:
            yield from _extra_fields(getattr(node, name))
    elif isinstance(node, list):
        for item in node:
            yield from _extra_fields(item)


def _matters(name: str, value: Any) -> bool:
    return not (value is None or name in _IGNORED or value in _NEUTRAL.get(name, ()))


def _address(request: ChatCompletionRequest) -> VideoAddress:
    """The one video that all messages and the field ``video`` name, and the part of it that one of them does."""
    found = list(_addresses(request))
    videos = {address.video for address in found}
    parts = {address.time_range for address in found if address.time_range is not None}
    if len(videos) != 1 or len(parts) > 1:
        problem = "the request names no video" if not found else "the request names several videos"
        if len(videos) == 1:
            problem = "the request names several parts of the video"
        raise RequestError(
            f"{problem}. Name one, in the field `video` or in a content part of type video_url "
            f"({SCHEME}ID); GET /v1/videos lists them.",
            param="video",
            code="invalid_value" if found else "missing_required_parameter",
        )
    return VideoAddress(videos.pop(), parts.pop() if parts else None)


def _addresses(request: ChatCompletionRequest) -> Iterator[VideoAddress]:
    if request.video is not None:
        yield parse_video_url(request.video)
    for message in request.messages:
        for part in message.content if isinstance(message.content, list) else ():
            if isinstance(part, VideoPart):
                yield parse_video_url(part.video_url.url)
