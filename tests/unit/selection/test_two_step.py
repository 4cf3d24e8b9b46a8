from __future__ import annotations

import pytest
import torch

from tests.unit.selection.test_select import memory
from videox2l.models.cache import to_cache
from videox2l.models.video_xl.model import VideoXL
from videox2l.selection import QuestionContext
from videox2l.selection.attention import score_by_attention
from videox2l.selection.two_step import DRAFT_TOKENS, score_in_two_steps


def test_the_answers_tokens_look(random_model: VideoXL) -> None:
    context = QuestionContext(random_model, random_model.question_ids("where?"), memory(random_model))
    ids = list(context.question_ids)
    with torch.inference_mode():
        for _ in range(DRAFT_TOKENS):
            cache = to_cache(context.memory)
            ids.append(int(random_model.decoder(torch.tensor([ids]), past_key_values=cache).logits[0, -1].argmax()))
    looking = QuestionContext(random_model, ids, context.memory, len(context.question_ids))
    assert score_in_two_steps(context) == pytest.approx(score_by_attention(looking), abs=1e-6)
    assert score_in_two_steps(context) != pytest.approx(score_by_attention(context), abs=1e-6)


def test_an_answer_that_ends_at_once_leaves_the_question(
    random_model: VideoXL, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = QuestionContext(random_model, random_model.question_ids("where?"), memory(random_model))
    monkeypatch.setattr(random_model, "stop_ids", frozenset(range(len(random_model.tokenizer) + 1000)))
    assert score_in_two_steps(context) == score_by_attention(context)
