from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch

from videox2l.config import Budget, SelectionConfig
from videox2l.errors import ConfigError
from videox2l.kv import KV, MixedKV, mix
from videox2l.models import RelevanceHeads
from videox2l.models.cache import to_cache
from videox2l.models.retriever import OWN, load_retriever
from videox2l.models.video_xl.model import VideoXL
from videox2l.scorers import CONTROLS, JOINED, REGISTERED
from videox2l.selection import SCORERS, QuestionContext, Retrieved, check_selection, select
from videox2l.selection.attention import score_by_attention
from videox2l.selection.fusion import fuse
from videox2l.selection.question import relevance_heads
from videox2l.selection.select import parse_chunks

TOKENS = (6, 1, 3, 0, 6)  # of each chunk; unequal, and one without any


@pytest.fixture
def context(random_model: VideoXL) -> QuestionContext:
    return QuestionContext(
        random_model,
        random_model.question_ids("where?"),
        memory(random_model),
        question="where?",
        retrieved=retrieved(random_model),
    )


def retrieved(model: VideoXL) -> Retrieved:
    """Two vectors of each chunk, in the model's own embedding space."""
    identity = load_retriever(OWN, model).identity
    vectors = np.random.default_rng(0).normal(size=(len(TOKENS), 2, identity.dimension)).astype(np.float32)
    return Retrieved(identity, lambda: list(vectors))


def memory(model: VideoXL) -> MixedKV:
    shape = (model.geometry.layers, model.geometry.kv_heads)
    generator = torch.Generator().manual_seed(0)
    parts = [KV(*(torch.randn(*shape, n, 8, generator=generator) for _ in range(2))) for n in (4, *TOKENS)]
    return mix(parts[0], parts[1:], lambda count, dtype: model.rope_tables(0, count, dtype))


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_rates_every_chunk_and_repeats_itself(context: QuestionContext, name: str) -> None:
    first, second = (SCORERS[name](context) for _ in range(2))
    assert len(first) == len(TOKENS)
    assert first == second
    assert len(set(first)) > 1


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_needs_the_vectors_that_its_entry_says(context: QuestionContext, name: str) -> None:
    without = dataclasses.replace(context, retrieved=None)
    if REGISTERED[name].needs_vectors:
        with pytest.raises(ConfigError, match="ingested without a retriever"):
            SCORERS[name](without)
    else:
        assert SCORERS[name](without) == SCORERS[name](context)


@pytest.mark.parametrize("name", SCORERS)
def test_the_best_k_are_chosen_in_time_order(context: QuestionContext, name: str) -> None:
    chosen = select(SelectionConfig(name, top_k=2), len(TOKENS), context)
    assert chosen.scores is not None
    ranked = sorted(range(len(TOKENS)), key=lambda index: chosen.scores[index], reverse=True)
    assert chosen.chunks == tuple(sorted(ranked[:2]))


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("all", (0, 1, 2, 3, 4)),
        ("none", ()),
        ("uniform", (1, 3)),
        ("recent", (3, 4)),
        ("3", (3,)),
        ("4,0-2", (0, 1, 2, 4)),
        (" 1 , 1 ", (1,)),
    ],
)
def test_what_a_user_names(text: str, chunks: tuple[int, ...]) -> None:
    assert select(SelectionConfig(text), len(TOKENS), None).chunks == chunks


@pytest.mark.parametrize(
    ("budget", "chunks", "beyond"),
    [
        (Budget(), (0, 1, 2, 3, 4), set()),
        (Budget(max_low_chunks=2), (0, 1), {2, 3, 4}),
        (Budget(max_low_chunks=0), (), {0, 1, 2, 3, 4}),
        (Budget(max_bytes=45), (0, 1, 3), {2, 4}),  # what is too large leaves room for a smaller one
        (Budget(max_low_chunks=1, max_bytes=30), (0,), {1, 2, 3, 4}),
        (Budget(max_bytes=0), (), {0, 1, 2, 3, 4}),
    ],
)
def test_a_budget_keeps_the_first_that_fit(budget: Budget, chunks: tuple[int, ...], beyond: set[int]) -> None:
    chosen = select(SelectionConfig("all", budget=budget), len(TOKENS), None, None, [10, 20, 30, 15, 60])
    assert chosen.chunks == chunks
    assert set(chosen.beyond_budget) == beyond


def test_a_budget_keeps_the_best_scores(context: QuestionContext) -> None:
    chosen = select(SelectionConfig("attention", 3, Budget(max_low_chunks=2)), len(TOKENS), context)
    assert chosen.scores is not None
    ranked = sorted(range(len(TOKENS)), key=lambda index: chosen.scores[index], reverse=True)
    assert chosen.chunks == tuple(sorted(ranked[:2]))
    assert list(chosen.beyond_budget) == [ranked[2]]


@pytest.mark.parametrize(
    "text",
    ["best", "", "attention+", "attention+all", "-1", "1-", "3-1", "1,,2", "0-99999999", "1.5", "0-999999," * 9 + "0"],
)
def test_what_is_no_selection(text: str) -> None:
    with pytest.raises(ConfigError, match="select"):
        parse_chunks(text)
    with pytest.raises(ConfigError, match="select"):
        check_selection(SelectionConfig(text))


@pytest.mark.parametrize("policy", ["", "best", "mass:2", "coverage:half"])
def test_what_is_no_policy(policy: str) -> None:
    with pytest.raises(ConfigError, match="policy"):
        check_selection(SelectionConfig(policy=policy))


@pytest.mark.parametrize("text", [*SCORERS, JOINED, *CONTROLS, "0,4-6"])
def test_what_is_one_without_a_video(text: str) -> None:
    check_selection(SelectionConfig(text))


def test_a_chunk_the_video_does_not_have() -> None:
    with pytest.raises(ConfigError, match="do not exist"):
        select(SelectionConfig("5"), len(TOKENS), None)


def test_of_many_chunks_some_are_named() -> None:
    with pytest.raises(ConfigError) as error:
        select(SelectionConfig("0-999999"), len(TOKENS), None)
    assert re.search(r"chunks \[[\d, ]+\] and 9999\d\d more do not exist", str(error.value))


def test_scorers_are_joined_by_their_ranks(context: QuestionContext) -> None:
    joined = select(SelectionConfig("attention+keys"), len(TOKENS), context).scores
    parts = [SCORERS[name](context) for name in ("attention", "keys")]
    assert joined == tuple(fuse(parts))


def test_drift_is_taken_out_before_the_choice(context: QuestionContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORERS, "attention", lambda _: [0.0, 1.0, 3.5, 3.0, 4.0])
    config = SelectionConfig("attention", top_k=1)
    assert select(config, len(TOKENS), context).chunks == (4,)
    assert select(dataclasses.replace(config, correct_drift=True), len(TOKENS), context).chunks == (2,)


def test_the_policy_is_asked(context: QuestionContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCORERS, "attention", lambda _: [0.0, 0.9, 1.0, 0.0, 0.8])
    assert select(SelectionConfig("attention", policy="coverage"), len(TOKENS), context).chunks == (2, 4)


@pytest.mark.parametrize(("text", "chunks"), [("all", (3, 5, 6, 7, 9)), ("none", ()), ("5-7", (5, 6, 7))])
def test_only_chunks_within_the_limits(text: str, chunks: tuple[int, ...]) -> None:
    assert select(SelectionConfig(text), 12, None, (3, 5, 6, 7, 9)).chunks == chunks


@pytest.mark.parametrize("name", SCORERS)
def test_scores_within_limits_keep_their_chunks_numbers(context: QuestionContext, name: str) -> None:
    within = (3, 5, 6, 7, 9)
    alone, limited = (
        select(SelectionConfig(name, top_k=2), chunks, context, limits) for chunks, limits in ((5, None), (12, within))
    )
    assert limited.chunks == tuple(within[index] for index in alone.chunks)
    assert alone.scores is not None
    assert limited.scores is not None
    expected = dict(zip(within, alone.scores, strict=True))
    assert limited.scores == tuple(expected.get(index) for index in range(12))


@pytest.mark.parametrize(("text", "message"), [("4", r"\[4\] lie outside .* 3 to 9"), ("5,12", r"\[12\] do not exist")])
def test_a_chunk_outside_the_limits(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select(SelectionConfig(text), 12, None, (3, 5, 6, 7, 9))


def test_top_k_beyond_the_video_is_all_of_it(context: QuestionContext) -> None:
    assert select(SelectionConfig("attention", top_k=99), len(TOKENS), context).chunks == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("question_tokens", ["last", "mean", "max"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "max"])
def test_attention_scores_equal_the_decoders_own_attention(
    context: QuestionContext, question_tokens: str, reduction: str
) -> None:
    """Against transformers' eager attention, which returns its weights; re-normalised to the memory's share."""
    model = context.model
    how = RelevanceHeads(((0, 1), (1, 0), (1, 3)), question_tokens, reduction)  # type: ignore[arg-type]
    expected = reference_scores(model, context, how)
    model.relevance_heads = how
    try:
        scores = score_by_attention(context)
    finally:
        model.relevance_heads = None
    assert scores == pytest.approx(expected, abs=1e-6)


@torch.inference_mode()
def reference_scores(model: VideoXL, context: QuestionContext, how: RelevanceHeads) -> list[float]:
    decoder, count = model.decoder, context.memory.tokens
    decoder.set_attn_implementation("eager")
    try:
        ids_BT = torch.tensor([context.question_ids])
        attentions = decoder(ids_BT, past_key_values=to_cache(context.memory), output_attentions=True).attentions
    finally:
        decoder.set_attn_implementation("sdpa")
    scores = torch.zeros(len(TOKENS))
    for layer, head in how.heads:
        weights_TM = attentions[layer][0, head, :, :count]
        weights_TM = weights_TM / weights_TM.sum(-1, keepdim=True)
        summary_M = {"last": weights_TM[-1], "mean": weights_TM.mean(0), "max": weights_TM.amax(0)}[how.question_tokens]
        for index, part in enumerate(context.memory.chunk_slices):
            tokens = summary_M[part]
            if len(tokens):
                scores[index] += {"mean": tokens.mean(), "sum": tokens.sum(), "max": tokens.max()}[how.reduction]
    return (scores / len(how.heads)).tolist()


def test_without_calibration_all_heads_count(random_model: VideoXL) -> None:
    assert len(relevance_heads(random_model).heads) == 2 * 4
