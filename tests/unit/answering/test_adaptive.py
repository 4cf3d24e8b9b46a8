"""More and more detail until the answer stays the same: how far it goes, and what it says it has cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial

import pytest

from tests.archives import random_index
from videox2l import Archive, ResidentVideo, SelectionConfig, ask
from videox2l.answering import Answer, AnswerEngine, TextDelta
from videox2l.answering.adaptive import counts, stream_selected
from videox2l.config import GenerationConfig
from videox2l.errors import QuestionTooLongError
from videox2l.models.video_xl.model import VideoXL

QUESTION = "What happens after the second scene?"
SHORT = GenerationConfig(8)


@pytest.fixture
def video(archive: Archive, random_model: VideoXL) -> ResidentVideo:
    return ResidentVideo(random_model, random_index(archive, random_model))


@pytest.fixture
def template(random_model: VideoXL, video: ResidentVideo) -> Answer:
    return ask(random_model, video, QUESTION, SelectionConfig("none"), SHORT)


@pytest.mark.parametrize(
    ("texts", "top_k", "tried"),
    [
        (["red", "red"], 8, [1, 2]),
        (["red", "Red. ", "blue"], 8, [1, 2]),
        (["red", "blue", "blue"], 8, [1, 2, 4]),
        (["a", "b", "c", "d"], 8, [1, 2, 4, 8]),
        (["a", "b", "c"], 3, [1, 2, 3]),
        (["a"], 1, [1]),
        (["a"], 0, [0]),
    ],
)
def test_how_far_it_goes(template: Answer, texts: list[str], top_k: int, tried: list[int]) -> None:
    found: list[int] = []

    def once(selection: SelectionConfig) -> Iterator[TextDelta | Answer]:
        text = texts[len(found)]
        found.append(selection.top_k)
        yield TextDelta(text)
        yield dataclasses.replace(template, text=text)

    delta, answer = stream_selected(once, SelectionConfig(top_k=top_k, policy="adaptive"))
    assert found == tried
    assert isinstance(delta, TextDelta)
    assert isinstance(answer, Answer)
    assert delta.text == answer.text == texts[len(tried) - 1]


@pytest.mark.parametrize("top_k", [4, 8])
def test_detail_that_does_not_fit_the_context_ends_it(template: Answer, top_k: int) -> None:
    """Also where that is the last attempt, which is shown as it comes."""

    def once(selection: SelectionConfig, fitting: int) -> Iterator[TextDelta | Answer]:
        if selection.top_k > fitting:
            raise QuestionTooLongError("the context is full")
        yield dataclasses.replace(template, text=str(selection.top_k))

    selection = SelectionConfig(top_k=top_k, policy="adaptive")
    [answer] = stream_selected(partial(once, fitting=3), selection)
    assert isinstance(answer, Answer)
    assert answer.text == "2"
    with pytest.raises(QuestionTooLongError):
        list(stream_selected(partial(once, fitting=0), selection))


def test_counts() -> None:
    assert [list(counts(most)) for most in (2, 4, 6)] == [[1, 2], [1, 2, 4], [1, 2, 4, 6]]


@pytest.mark.parametrize("path", ["simple", "engine"])
def test_the_receipt_has_all_attempts(random_model: VideoXL, video: ResidentVideo, path: str) -> None:
    selection = SelectionConfig(top_k=4, policy="adaptive")
    if path == "simple":
        answer = ask(random_model, video, QUESTION, selection, SHORT)
    else:
        with AnswerEngine(random_model) as engine:
            *deltas, last = engine.stream(video, QUESTION, selection, SHORT)
        assert isinstance(last, Answer)
        answer = last
        assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == answer.text
    last_k = len(answer.spans)
    tried = [k for k in (1, 2, 4) if k <= last_k]
    assert len(tried) >= 2
    alone = [ask(random_model, video, QUESTION, SelectionConfig(top_k=k), SHORT) for k in tried]
    assert answer.text == alone[-1].text
    read = [each.receipt.bytes_read["low"] for each in alone]
    # No low KVs are kept, so the simple path reads each attempt's; the engine takes from the memory before.
    assert answer.receipt.bytes_read["low"] == (sum(read) if path == "simple" else read[-1])


def test_without_scores_there_is_nothing_to_adapt(random_model: VideoXL, video: ResidentVideo) -> None:
    answer = ask(random_model, video, QUESTION, SelectionConfig("uniform", 3, policy="adaptive"), SHORT)
    assert len(answer.spans) == 3
