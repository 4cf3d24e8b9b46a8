"""Mixed memories and grades, against the library's own mixing and against what a clip shows."""

import numpy as np
import pytest
import torch

from videox2l.config import CompressionConfig
from videox2l.kv.mix import mix, reload
from videox2l.models.relevance import RelevanceHeads
from videox2l.models.video_xl.prefill import VideoXLPrefill
from videox2l.models.video_xl.prompt import prefix_ids
from videox2l.training.clips import QuestionEncoder
from videox2l.training.model_config import HIGH_RATIO, LOW_RATIO, TOKENS_PER_CHUNK, new_network, raw_config
from videox2l.training.parallel_prefill import tables
from videox2l.training.relevance import best_chunk, calibrate, head_scores
from videox2l.training.scoring import compress, grade, level_ratios, mixed
from videox2l.training.tokenizer import train_tokenizer
from videox2l.video.synthetic import SyntheticClip, questions

CHUNKS = 5


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer()


@pytest.fixture(scope="module")
def network(tokenizer):
    torch.manual_seed(0)
    return new_network(raw_config(tokenizer)).eval()


@pytest.fixture(scope="module")
def visual() -> torch.Tensor:
    return torch.randn(1, CHUNKS, TOKENS_PER_CHUNK, 128, generator=torch.Generator().manual_seed(1))


def levels(network, tokenizer, visual):
    prompt = torch.tensor(prefix_ids(tokenizer))
    with torch.no_grad():
        return [compress(network, prompt, visual, level_ratios(level, CHUNKS)) for level in ("low", "high")]


@pytest.mark.parametrize("reloaded", [(), (2,), (0, 3), range(CHUNKS)])
def test_mixing_equals_the_librarys(network, tokenizer, visual, reloaded) -> None:
    low, high = levels(network, tokenizer, visual)
    ours = mixed(network, low, high, reloaded)
    loop = VideoXLPrefill(
        network.language_model,
        network.vst,
        torch.tensor(prefix_ids(tokenizer)),
        CompressionConfig(LOW_RATIO, HIGH_RATIO, 8),
    )
    chunks = [loop.append(visual[0, chunk], last=chunk == CHUNKS - 1) for chunk in range(CHUNKS)]
    theirs = mix(
        loop.prompt,
        reload([chunk["high"] for chunk in chunks], {chunk: chunks[chunk]["low"] for chunk in reloaded}),
        lambda count, _dtype: tables(network, torch.arange(count)),
    )
    assert ours.chunks == theirs.chunk_slices
    for layer, memory in enumerate(ours.layers):
        assert torch.allclose(memory.keys_BHMD[0], theirs.keys_LHTD[layer], atol=1e-4)
        assert torch.allclose(memory.values_BHMD[0], theirs.values_LHTD[layer], atol=1e-4)


def test_reloading_nothing_or_everything_is_a_level_itself(network, tokenizer, visual) -> None:
    low, high = levels(network, tokenizer, visual)
    for memory, expected in ((mixed(network, low, high, ()), high), (mixed(network, low, high, range(CHUNKS)), low)):
        assert memory.chunks == expected.chunks
        for ours, theirs in zip(memory.layers, expected.layers, strict=True):
            assert torch.equal(ours.values_BHMD, theirs.values_BHMD)
            assert torch.allclose(ours.keys_BHMD, theirs.keys_BHMD, atol=1e-6)


def test_a_network_that_knows_the_answer_is_graded_right(network, tokenizer, visual, monkeypatch) -> None:
    clip = SyntheticClip.from_seed(1, CHUNKS)
    asked = [questions(clip, seed=2, count=30)]
    encoder = QuestionEncoder(tokenizer)
    _, _, targets = encoder.rows(asked)
    logits = torch.nn.functional.one_hot(targets, len(tokenizer)).float()
    monkeypatch.setattr("videox2l.training.scoring.answer_logits", lambda *_: logits)
    _, high = levels(network, tokenizer, visual)
    grades = grade(network, encoder, high.layers, asked)
    assert all(g.exact for g in grades)
    assert all(g.digits == 1 for g in grades if g.question.kind == "code")
    # One wrong digit: the code is wrong as a whole, and right by two thirds.
    first_code = next(index for index, question in enumerate(asked[0]) if question.kind == "code")
    row = sum(len(encoder.answer(question.answer)) for question in asked[0][:first_code])
    logits[row] = 0
    wrong = grade(network, encoder, high.layers, asked)[first_code]
    assert not wrong.exact
    assert wrong.digits == pytest.approx(2 / 3)


def test_reductions_over_chunks_of_different_length() -> None:
    weights = torch.tensor([0.5, 0.1, 0.1, 0.3]).view(1, 1, 1, 4)  # prompt, a chunk of two, a chunk of one
    chunks = (slice(1, 3), slice(3, 4))
    assert head_scores(weights, chunks, "last", "mean")[0, 0].tolist() == pytest.approx([0.1, 0.3])
    assert head_scores(weights, chunks, "last", "sum")[0, 0].tolist() == pytest.approx([0.2, 0.3])
    assert best_chunk(weights, chunks, RelevanceHeads(((0, 0),), "last", "mean")) == 1


def test_calibration_finds_the_head_that_looks_at_the_right_chunk() -> None:
    rng = np.random.default_rng(0)
    cases = []
    for _ in range(20):
        target = int(rng.integers(6))
        weights = torch.from_numpy(rng.random((2, 4, 3, 12)) * 0.05).float()
        weights[1, 2, -1, 2 * target : 2 * target + 2] = 0.5  # the last token of layer 1, head 2
        cases.append((weights, tuple(slice(2 * c, 2 * c + 2) for c in range(6)), target))
    assert calibrate(cases).heads == ((1, 2),)
