"""From a chat completion request to the question it asks. What would change the answer and is not done is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel

from pipelines.serve.errors import RequestError
from pipelines.serve.schema import ChatCompletionRequest, Message, TextPart, VideoPart
from videox2l.answering import TimeRange, Turn
from videox2l.config import GenerationConfig, SelectionConfig

SCHEME = "videox2l://"

# Fields that leave the answer as it is: bookkeeping of OpenAI's platform, and preferences about speed and price.
_IGNORED = frozenset(
    "user metadata store service_tier safety_identifier prompt_cache_key prompt_cache_retention "
    "parallel_tool_calls name".split()
)
# Values by which a field asks for nothing that is not done anyway.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "stop": ([],),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "include_obfuscation": (False,),
}


@dataclass(frozen=True)
class Question:
    """What an engine needs to answer. ``video`` is as the user wrote it, or an id once the ingress has looked it up."""

    video: str
    text: str
    selection: SelectionConfig
    generation: GenerationConfig
    time_range: TimeRange | None = None
    history: tuple[Turn, ...] = ()


def read_question(request: ChatCompletionRequest) -> Question:
    """Raises :class:`RequestError`, :class:`~videox2l.errors.ConfigError` and
    :class:`~videox2l.answering.TimeRangeError`, naming the field."""
    _refuse_unsupported(request)
    message = _only_user_message(request.messages)
    limit = request.max_completion_tokens or request.max_tokens
    limits, defaults = request.videox2l, GenerationConfig()
    return Question(
        video=_video(request, message),
        text="\n".join(_texts(message)),
        selection=SelectionConfig(request.select, request.top_k),
        generation=GenerationConfig(limit or defaults.max_new_tokens, request.temperature, request.top_p, request.seed),
        time_range=None if limits is None else TimeRange.parse(limits.start, limits.end),
    )


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


def _only_user_message(messages: list[Message]) -> Message:
    for message in messages:
        if message.role in ("system", "developer") and any(text.strip() for text in _texts(message)):
            raise RequestError(
                "system messages are not supported: the text in front of a video is part of its stored KVs. "
                "Put instructions into the question.",
                param="messages",
            )
        if message.role in ("assistant", "tool", "function"):
            raise RequestError(f"messages of role {message.role!r} are not supported: {_ONE}", param="messages")
    users = [message for message in messages if message.role == "user"]
    if len(users) != 1:
        raise RequestError(f"there are {len(users)} user messages: {_ONE}", param="messages")
    return users[0]


_ONE = "conversations of several turns are not supported yet. Send exactly one user message."


def _video(request: ChatCompletionRequest, message: Message) -> str:
    parts = message.content if isinstance(message.content, list) else []
    urls = [part.video_url.url for part in parts if isinstance(part, VideoPart)]
    named = {_strip_scheme(name) for name in [*urls, *([request.video] if request.video is not None else [])]}
    if len(named) != 1:
        problem = "the request names no video" if not named else "the request names several videos"
        raise RequestError(
            f"{problem}. Name one, in the field `video` or in a content part of type video_url "
            f"({SCHEME}ID); GET /v1/videos lists them.",
            param="video",
            code="invalid_value" if named else "missing_required_parameter",
        )
    return named.pop()


def _strip_scheme(name: str) -> str:
    return unquote(name.removeprefix(SCHEME)).rstrip("/") if name.startswith(SCHEME) else name


def _texts(message: Message) -> Iterator[str]:
    if isinstance(message.content, str):
        yield message.content
    for part in message.content if isinstance(message.content, list) else ():
        if isinstance(part, TextPart):
            yield part.text
