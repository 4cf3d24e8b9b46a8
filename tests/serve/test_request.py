"""From a request's JSON to the question it asks, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.serve.errors import RequestError, describe
from pipelines.serve.request import Question, choices_of, read_question
from pipelines.serve.schema.chat import ChatCompletionRequest
from videox2l.answering import TimeRange, TimeRangeError, Turn
from videox2l.config import Budget, GenerationConfig, SelectionConfig
from videox2l.errors import ArchiveError, ArchiveNotWritableError

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
        select="0,2-3",
        top_k=5,
        max_tokens=7,
        temperature=0.5,
        top_p=0.9,
        seed=3,
        stop=["\n", "END"],
        logprobs=True,
        top_logprobs=4,
        stream=True,
        stream_options=None,
        videox2l={
            "max_low_chunks": 3,
            "max_bytes": 10_000,
            "max_first_token_ms": 250,
            "policy": "mass:0.5",
            "correct_drift": True,
            "index": "00ff",
        },
    )
    assert question.index == "00ff"
    assert question.selection == SelectionConfig("0,2-3", 5, Budget(3, 10_000, 250.0), "mass:0.5", True)
    assert question.generation == GenerationConfig(7, 0.5, 0.9, 3, ("\n", "END"), 4)


@pytest.mark.parametrize(
    ("fields", "stop", "logprobs"),
    [({"stop": "."}, (".",), None), ({"logprobs": True}, (), 0), ({"logprobs": False, "top_logprobs": 0}, (), None)],
)
def test_stop_and_logprobs(fields: dict[str, Any], stop: tuple[str, ...], logprobs: int | None) -> None:
    generation = read(**fields).generation
    assert (generation.stop, generation.logprobs) == (stop, logprobs)


def test_choices_have_seeds_of_their_own() -> None:
    first, *others = choices_of(read(seed=3), 4)
    assert first == read(seed=3)
    seeds = [question.generation.seed for question in others]
    assert len({3, 4, 5, 6, *seeds}) == 7
    assert [question.generation.seed for question in choices_of(read(seed=3), 4)] == [3, *seeds]
    assert choices_of(read(), 2) == [read(), read()]


def test_earlier_turns_of_a_conversation() -> None:
    messages = [
        {"role": "developer", "content": ""},
        {"role": "user", "content": [video_part("videox2l://clip.mp4"), {"type": "text", "text": "Who?"}]},
        # As the official client dumps it.
        {"role": "assistant", "content": "Ann.", "refusal": None, "annotations": [], "tool_calls": None},
        {"role": "user", "content": "And"},
        {"role": "assistant", "content": [{"type": "text", "text": "Bo."}]},
        USER,
    ]
    question = read(video=None, messages=messages)
    assert question.history == (Turn("Who?", "Ann."), Turn("And", "Bo."))
    assert (question.video, question.text) == ("clip.mp4", "What happens?")


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


@pytest.mark.parametrize(
    ("fragment", "time_range"),
    [
        ("t=600,1200", TimeRange(600.0, 1200.0)),
        ("t=npt:10,20.5", TimeRange(10.0, 20.5)),
        ("t=01:30", TimeRange(90.0)),
        ("t=,20", TimeRange(None, 20.0)),
    ],
)
def test_a_part_of_the_video_in_its_address(fragment: str, time_range: TimeRange) -> None:
    address = f"videox2l://a%23b.mp4#{fragment}"
    question = read(video=None, messages=[{**USER, "content": [video_part(address), {"type": "text", "text": "?"}]}])
    assert (question.video, question.time_range) == ("a#b.mp4", time_range)
    assert read(video=address, messages=[{**USER, "content": [video_part("videox2l://a%23b.mp4")]}]).time_range


def test_what_is_no_part_of_a_video() -> None:
    with pytest.raises(TimeRangeError, match="'early' is no time") as caught:
        read(videox2l={"from": "early"})
    assert describe(caught.value)[1].param == "videox2l"


@pytest.mark.parametrize("kind", [ArchiveError, ArchiveNotWritableError])
def test_a_storage_that_fails_is_no_mistake_of_the_client_and_its_address_stays_inside(kind: type[Exception]) -> None:
    status, body, headers = describe(kind("cannot read s3://secret-bucket/x"))
    assert (status, body.type, body.code) == (503, "server_error", "storage_unavailable")
    assert "secret" not in body.message
    assert int(headers["Retry-After"]) > 0


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
        {"temperature": None, "top_p": None, "stream": None},
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
        ({"tools": [{"type": "function"}]}, "tools", "tools"),
        ({"top_logprobs": 3}, "top_logprobs", "logprobs: true"),
        ({"response_format": {"type": "json_object"}}, "response_format", "response_format"),
        ({"topk": 3}, "topk", "spelling"),
        ({"videox2l": {"start": 3}}, "start", "spelling"),
        ({"messages": [{**USER, "content": [{"type": "text", "text": "x", "fps": 2}]}]}, "fps", "fps"),
        ({"video": None}, "video", "names no video"),
        ({"messages": [{**USER, "content": [video_part("videox2l://b.mp4")]}]}, "video", "several videos"),
        ({"messages": [{"role": "system", "content": "Be brief."}, USER]}, "messages", "system messages"),
        ({"messages": [USER, USER]}, "messages", "'user' where 'assistant' is due"),
        ({"messages": [{"role": "assistant", "content": "A."}, USER]}, "messages", "'assistant' where 'user' is due"),
        ({"messages": [USER, {"role": "assistant", "content": "A."}]}, "messages", "end with a question"),
        ({"messages": [USER, {"role": "tool", "content": "A."}]}, "messages", "no tools"),
        ({"messages": [{"role": "system", "content": ""}]}, "messages", "no user message"),
        ({"video": "videox2l://clip.mp4#chapter"}, "video", "#chapter is not understood"),
        ({"video": "videox2l://#t=1"}, "video", "names no video"),
        ({"video": "videox2l://clip.mp4#t=1", "videox2l": {"from": 3}}, "videox2l", "use one"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(fields: dict[str, Any], param: str, word: str) -> None:
    with pytest.raises(RequestError, match=word) as caught:
        read(**fields)
    assert caught.value.param == param
    assert caught.value.http_status == 400
