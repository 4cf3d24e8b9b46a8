"""Grades against ordinary greedy decoding, and pruned memories against whole ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from videox2l.answering.decode import generate
from videox2l.config import GenerationConfig
from videox2l.errors import ConfigError
from videox2l.evaluation.suites.clips import even_ratio, prefill_clips, tokens_of
from videox2l.evaluation.suites.grading import grade
from videox2l.evaluation.suites.pruning import PRUNINGS, press, prune
from videox2l.evaluation.suites.run import Plan
from videox2l.evaluation.suites.tasks import SUITES
from videox2l.models.cache import to_cache


@pytest.fixture(scope="module")
def clip(model, footage):
    composed = footage.compose(6, np.random.default_rng(1))
    return next(prefill_clips(model, [composed], Plan().compression, k=2))


@pytest.fixture(scope="module")
def tasks(clip):
    rng = np.random.default_rng(2)
    return [task for suite in SUITES.values() for task in suite(clip.content, rng)]


def greedy(model, memory, question: str) -> str:
    ids = model.question_ids(question)
    picks = generate(model.decoder, ids, to_cache(memory), GenerationConfig(max_new_tokens=12), model.stop_ids)
    return str(model.tokenizer.decode([pick.token for pick in picks], skip_special_tokens=True))


def test_grades_are_those_of_greedy_answers(model, clip, tasks) -> None:
    memory = clip.memory(clip.high)  # right and wrong answers both occur
    answers = [greedy(model, memory, task.question) for task in tasks]
    expected = [answer == task.answer for answer, task in zip(answers, tasks, strict=True)]
    assert grade(model, memory, tasks) == expected
    assert 0 < sum(expected) < len(expected)
    given = [replace(task, answer=answer) for task, answer in zip(tasks, answers, strict=True)]
    assert all(grade(model, memory, given))


@pytest.mark.parametrize("name", PRUNINGS)
def test_pruning_keeps_the_prompt_and_as_many_tokens_as_told(model, clip, name) -> None:
    low = clip.memory(clip.low)
    with torch.inference_mode():
        scores_LHT = PRUNINGS[name](model, low)
    kept = prune(low, scores_LHT, 10)
    prompt = low.prompt_tokens
    assert kept.tokens == prompt + 10
    assert torch.equal(kept.keys_LHTD[:, :, :prompt], low.keys_LHTD[:, :, :prompt])
    everything = prune(low, scores_LHT, low.tokens)
    assert torch.equal(everything.keys_LHTD, low.keys_LHTD)
    assert torch.equal(everything.values_LHTD, low.values_LHTD)


def test_key_norm_keeps_the_smallest_keys(model, clip) -> None:
    low = clip.memory(clip.low)
    kept = prune(low, PRUNINGS["key norm"](model, low), 5)
    start = low.prompt_tokens
    found = kept.keys_LHTD[:, :, start:].norm(dim=-1).sort(-1).values
    smallest = low.keys_LHTD[:, :, start:].norm(dim=-1).sort(-1).values[:, :, :5]
    assert torch.allclose(found, smallest)


def test_even_compression_never_has_fewer_tokens_than_it_is_compared_with(clip) -> None:
    assert clip.budget == 6 * 1 + 2 * 16
    assert tokens_of(clip.even) == 6 * 8  # a ratio of 4; one of 8 would keep 24
    assert even_ratio(32, 16, budget=48) == 8
    assert even_ratio(32, 64, budget=96) == 16
    assert even_ratio(32, 2, budget=1000) == 2


@pytest.mark.parametrize("name", ["KnormPress", "KeyDiffPress", "CURPress", "SnapKVPress", "TOVAPress"])
def test_presses_prune_the_same_kvs(model, clip, name) -> None:
    low = clip.memory(clip.low)
    with torch.inference_mode():
        scores_LHT = press(name)(model, low)
    assert scores_LHT.shape == low.keys_LHTD.shape[:3]
    kept = prune(low, scores_LHT, clip.budget)
    assert kept.tokens == low.prompt_tokens + clip.budget
    ours = {"KnormPress": "key norm", "KeyDiffPress": "KeyDiff", "SnapKVPress": "SnapKV-like"}
    if name in ours:
        same = prune(low, PRUNINGS[ours[name]](model, low), clip.budget)
        share = (kept.keys_LHTD == same.keys_LHTD).all(-1).float().mean()
        assert share > 0.95  # ties and rounding


def test_a_press_that_needs_what_archives_do_not_keep() -> None:
    with pytest.raises(ConfigError, match="not kept"):
        press("ExpectedAttentionPress")
