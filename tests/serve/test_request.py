"""From a request's JSON to the question it asks, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.serve.errors import RequestError, describe
from pipelines.serve.request import Question, read_question
from pipelines.serve.schema import ChatCompletionRequest
from videox2l.answering import TimeRange, TimeRangeError
from videox2l.config import GenerationConfig, SelectionConfig

USER = {"role": "user", "content": "What happens?"}


def video_part(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def read(**fields: Any) -> Question:
    body = {"model": "tiny", "messages": [USER], "video": "clip.mp4", **fields}
    return read_question(ChatCompletionRequest.model_validate(body))


def test_defaults_are_those_of_the_library() -> None:
    assert read() == Question("clip.mp4", "What happens?", SelectionConfig(), GenerationConfig())


def test_every_supported_field_arrives() -> None:
    question = read(
        select="0,2-3", top_k=5, max_tokens=7, temperature=0.5, top_p=0.9, seed=3, stream=True, stream_options=None
    )
    assert question.selection == SelectionConfig("0,2-3", 5)
    assert question.generation == GenerationConfig(7, 0.5, 0.9, 3)


@pytest.mark.parametrize(
    ("limits", "time_range"),
    [
        (None, None),
        ({"from": 90, "to": "2:00.5"}, TimeRange(90.0, 120.5)),
        ({"to": "01:00:00"}, TimeRange(None, 3600.0)),
        ({"from": "2026-11-21T08:00:00Z"}, TimeRange(datetime(2026, 11, 21, 8, tzinfo=UTC))),
    ],
)
def test_a_part_of_the_video(limits: dict[str, Any] | None, time_range: TimeRange | None) -> None:
    assert read(videox2l=limits).time_range == time_range


def test_what_is_no_part_of_a_video() -> None:
    with pytest.raises(TimeRangeError, match="'early' is no time") as caught:
        read(videox2l={"from": "early"})
    assert describe(caught.value)[1].param == "videox2l"


def test_max_completion_tokens_takes_precedence() -> None:
    assert read(max_tokens=7, max_completion_tokens=9).generation.max_new_tokens == 9


@pytest.mark.parametrize(
    ("url", "video"),
    [
        ("videox2l://4c476241b2e1", "4c476241b2e1"),
        ("videox2l://a%20clip.mp4", "a clip.mp4"),
        ("videox2l://clip.mp4/", "clip.mp4"),
        ("https://example.org/clip.mp4", "https://example.org/clip.mp4"),
    ],
)
def test_video_in_a_content_part(url: str, video: str) -> None:
    parts = [video_part(url), {"type": "text", "text": "What"}, {"type": "text", "text": "happens?"}]
    question = read(video=None, messages=[{"role": "user", "content": parts}])
    assert (question.video, question.text) == (video, "What\nhappens?")


def test_the_same_video_may_be_named_twice() -> None:
    parts = [video_part("videox2l://clip.mp4"), {"type": "text", "text": "What?"}]
    assert read(messages=[{"role": "user", "content": parts}]).video == "clip.mp4"


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1},
        {"stop": None},
        {"stop": []},
        {"tools": []},
        {"logprobs": False},
        {"response_format": {"type": "text"}},
        {"presence_penalty": 0.0},
        {"user": "someone", "metadata": {"a": "b"}},
        {"messages": [{"role": "system", "content": " "}, USER]},
    ],
)
def test_fields_that_ask_for_nothing_are_accepted(fields: dict[str, Any]) -> None:
    assert read(**fields) == read()


@pytest.mark.parametrize(
    ("fields", "param", "word"),
    [
        ({"n": 2}, "n", "n."),
        ({"stop": ["."]}, "stop", "stop"),
        ({"tools": [{"type": "function"}]}, "tools", "tools"),
        ({"logprobs": True, "top_logprobs": 3}, "logprobs", "logprobs, top_logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format", "response_format"),
        ({"topk": 3}, "topk", "spelling"),
        ({"videox2l": {"start": 3}}, "start", "spelling"),
        ({"messages": [{**USER, "content": [{"type": "text", "text": "x", "fps": 2}]}]}, "fps", "fps"),
        ({"video": None}, "video", "names no video"),
        ({"messages": [{**USER, "content": [video_part("videox2l://b.mp4")]}]}, "video", "several videos"),
        ({"messages": [{"role": "system", "content": "Be brief."}, USER]}, "messages", "system messages"),
        ({"messages": [USER, {"role": "assistant", "content": "A."}, USER]}, "messages", "several turns"),
        ({"messages": [USER, USER]}, "messages", "2 user messages"),
        ({"messages": [{"role": "system", "content": ""}]}, "messages", "0 user messages"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(fields: dict[str, Any], param: str, word: str) -> None:
    with pytest.raises(RequestError, match=word) as caught:
        read(**fields)
    assert caught.value.param == param
    assert caught.value.http_status == 400
