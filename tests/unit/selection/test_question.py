"""Questions that look at their gists together see what each sees alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.unit.selection.test_select import memory
from videox2l.config import SelectionConfig
from videox2l.models.video_xl.model import VideoXL
from videox2l.selection import SCORERS, QuestionContext, select, share_queries, shares_queries
from videox2l.selection.question import question_queries


@pytest.fixture
def contexts(random_model: VideoXL) -> list[QuestionContext]:
    """Of several lengths, one with earlier turns; three over one memory, not side by side, and one over another."""
    one, other = memory(random_model), memory(random_model)
    asked = ["where?", "Who comes in after the man with the hat?", "when?", "How many?"]
    over = [one, other, one, one]
    return [
        QuestionContext(random_model, random_model.question_ids(question), mixed, history_tokens=number)
        for number, (question, mixed) in enumerate(zip(asked, over, strict=True))
    ]


def test_queries_of_all_are_those_of_each(contexts: list[QuestionContext]) -> None:
    share_queries(contexts)
    for context in contexts:
        alone = question_queries(dataclasses.replace(context), context.queries.keys())
        assert context.queries.keys() == alone.keys() != set()
        for layer, queries_QTD in alone.items():
            torch.testing.assert_close(context.queries[layer], queries_QTD, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in SCORERS if shares_queries(SelectionConfig(name))])
def test_scores_are_those_of_each(contexts: list[QuestionContext], name: str) -> None:
    share_queries(contexts)
    for context in contexts:
        together = select(SelectionConfig(name), context.chunks, context)
        alone = select(SelectionConfig(name), context.chunks, dataclasses.replace(context))
        assert together.scores == pytest.approx(alone.scores, abs=1e-5)
        assert together.chunks == alone.chunks


def test_a_changed_question_does_not_keep_the_queries_of_another(contexts: list[QuestionContext]) -> None:
    share_queries(contexts)
    assert not dataclasses.replace(contexts[0], question_ids=contexts[1].question_ids).queries


@pytest.mark.parametrize(
    ("select_text", "expected"), [("attention", True), ("random+keys", True), ("random", False), ("all", False)]
)
def test_only_scorers_that_look_at_queries_share_them(select_text: str, expected: bool) -> None:
    assert shares_queries(SelectionConfig(select_text)) is expected
