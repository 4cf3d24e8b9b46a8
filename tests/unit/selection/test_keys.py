from __future__ import annotations

import pytest
import torch

from tests.unit.selection.test_select import TOKENS, memory
from videox2l.kv import MixedKV
from videox2l.models.cache import to_cache
from videox2l.models.video_xl.model import VideoXL
from videox2l.selection import QuestionContext
from videox2l.selection.keys import score_by_key_bounds, score_by_keys
from videox2l.selection.question import before_rope, question_queries


@pytest.fixture
def context(random_model: VideoXL) -> QuestionContext:
    return QuestionContext(random_model, random_model.question_ids("where?"), memory(random_model), history_tokens=2)


def by_hand(context: QuestionContext) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries ``[L, Q, T, D]`` and keys ``[L, Q, M, D]`` before rotation, from transformers' own hidden states."""
    model, mixed = context.model, context.memory
    assert isinstance(model, VideoXL)
    decoder = model.decoder.model
    with torch.inference_mode():
        ids_BT = torch.tensor([context.question_ids])
        states = decoder(ids_BT, past_key_values=to_cache(mixed), output_hidden_states=True).hidden_states
        queries = [
            layer.self_attn.q_proj(layer.input_layernorm(hidden[0])).unflatten(-1, (-1, 8)).transpose(0, 1)
            for layer, hidden in zip(decoder.layers, states, strict=False)
        ]
    keys_LHTD = before_rope(model, mixed.keys_LHTD, 0)
    share = queries[0].shape[0] // keys_LHTD.shape[1]
    return torch.stack(queries)[:, :, context.history_tokens :], keys_LHTD.repeat_interleave(share, 1)


def test_queries_are_the_decoders_own_before_rotation(context: QuestionContext) -> None:
    expected, _ = by_hand(context)
    start = context.memory.tokens + context.history_tokens
    for layer, queries_QTD in question_queries(context, {0, 1}).items():
        torch.testing.assert_close(before_rope(context.model, queries_QTD, start), expected[layer], atol=1e-5, rtol=0)


def test_keys_are_compared_as_they_were_before_rotation(random_model: VideoXL) -> None:
    shape = (random_model.geometry.layers, random_model.geometry.kv_heads, 9, 8)
    keys_LHTD = torch.randn(shape)
    cos_sin = random_model.rope_tables(0, 9, torch.float32)
    from videox2l.kv.rope import rotate

    torch.testing.assert_close(before_rope(random_model, rotate(keys_LHTD, cos_sin), 0), keys_LHTD, atol=1e-5, rtol=0)


def test_keys_is_the_cosine_of_means(context: QuestionContext) -> None:
    queries_LQTD, keys_LQMD = by_hand(context)
    scores = score_by_keys(context)
    for chunk, part in enumerate(context.memory.chunk_slices):
        if TOKENS[chunk]:
            mean_LQD = keys_LQMD[:, :, part].mean(2)
            expected = torch.cosine_similarity(queries_LQTD.mean(2), mean_LQD, dim=-1).mean()
            assert scores[chunk] == pytest.approx(float(expected), abs=1e-5)


def test_a_bound_is_never_below_the_best_key(context: QuestionContext) -> None:
    queries_LQTD, keys_LQMD = by_hand(context)
    scores = score_by_key_bounds(context)
    for chunk, part in enumerate(context.memory.chunk_slices):
        if not TOKENS[chunk]:
            continue
        best = (queries_LQTD @ keys_LQMD[:, :, part].mT).amax((2, 3)).mean() * 8**-0.5
        if TOKENS[chunk] == 1:
            assert scores[chunk] == pytest.approx(float(best), abs=1e-5)
        else:
            assert scores[chunk] > float(best)


@pytest.mark.parametrize("score", [score_by_keys, score_by_key_bounds])
def test_where_a_chunk_lies_does_not_count(random_model: VideoXL, score: object) -> None:
    """Two chunks of the same keys get the same score in layer 0, whose queries know nothing of the memory."""
    from videox2l.models import RelevanceHeads

    mixed = memory(random_model)
    twice = torch.cat([before_rope(random_model, mixed.keys_LHTD, 0)] * 2, dim=2)
    from videox2l.kv.rope import rotate

    keys_LHTD = rotate(twice, random_model.rope_tables(0, twice.shape[2], torch.float32))
    values_LHTD = torch.cat([mixed.values_LHTD] * 2, dim=2)
    size = mixed.tokens
    context = QuestionContext(
        random_model,
        random_model.question_ids("where?"),
        MixedKV(keys_LHTD, values_LHTD, 0, (slice(0, size), slice(size, 2 * size))),
    )
    random_model.relevance_heads = RelevanceHeads(((0, 0), (0, 3)))
    try:
        first, second = score(context)  # type: ignore[operator]
    finally:
        random_model.relevance_heads = None
    assert first == pytest.approx(second, abs=1e-5)
