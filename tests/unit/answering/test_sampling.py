from __future__ import annotations

import pytest
import torch

from videox2l.answering.sampling import Pick, Sampler, pick_each
from videox2l.config import GenerationConfig

CPU = torch.device("cpu")
KINDS = [
    GenerationConfig(),
    GenerationConfig(logprobs=2),
    GenerationConfig(temperature=1.5, top_p=0.9, seed=1),
    GenerationConfig(temperature=1.5, seed=2, logprobs=0),
]


def logits() -> torch.Tensor:
    return torch.randn(len(KINDS), 30, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_are_of_the_raw_logits(kind: GenerationConfig) -> None:
    """Whatever temperature and top_p make of them."""
    logits_V = logits()[0]
    pick = Sampler(kind, CPU).pick(logits_V)
    if kind.logprobs is None:
        assert pick == Pick(pick.token)
        return
    expected_V = logits_V.log_softmax(-1)
    assert pick.logprob == pytest.approx(float(expected_V[pick.token]))
    best = sorted(range(30), key=lambda token: -float(expected_V[token]))[: kind.logprobs]
    assert [token for token, _ in pick.top] == best


@pytest.mark.parametrize("temperature", [5e-324, 1e-40, 1e-30])
def test_next_to_no_temperature_leaves_the_likeliest(temperature: float) -> None:
    """An error here would end all answers that are decoded together."""
    logits_V = logits()[0] * 100
    for top_p in (1.0, 0.5):
        pick = Sampler(GenerationConfig(temperature=temperature, top_p=top_p, seed=1), CPU).pick(logits_V)
        assert pick.token == int(logits_V.argmax())


@pytest.mark.parametrize("seed", [-(2**63), 2**64 - 1])
def test_numbers_that_are_whole_and_seeds_at_the_ends_are_taken(seed: int) -> None:
    drawn = [Sampler(GenerationConfig(temperature=t, top_p=1, seed=seed), CPU).pick(logits()[0]) for t in (2, 2.0)]
    assert drawn[0] == drawn[1]


def test_picks_together_equal_picks_alone() -> None:
    rows = logits()
    together, alone = ([Sampler(kind, CPU) for kind in KINDS] for _ in range(2))
    for _ in range(5):
        assert pick_each(together, rows) == [sampler.pick(row) for sampler, row in zip(alone, rows, strict=True)]
