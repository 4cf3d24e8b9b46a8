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


def test_picks_together_equal_picks_alone() -> None:
    rows = logits()
    together, alone = ([Sampler(kind, CPU) for kind in KINDS] for _ in range(2))
    for _ in range(5):
        assert pick_each(together, rows) == [sampler.pick(row) for sampler, row in zip(alone, rows, strict=True)]
