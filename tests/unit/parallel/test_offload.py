"""Weights that come over layer by layer give the plain model's results, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.unit.parallel import programs
from tests.unit.parallel.processes import RankProcesses
from videox2l.errors import ConfigError
from videox2l.kv import LEVELS


@pytest.fixture(scope="module")
def process() -> Iterator[RankProcesses]:
    """DeepSpeed leaves its traces in the process it runs in."""
    alone = RankProcesses(1)
    yield alone
    alone.close()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_plain_models_results(process: RankProcesses, checkpoint: Path, dtype: str) -> None:
    [(plain, ours, resting)] = process.run(programs.plain_and_offloaded, checkpoint, dtype)
    assert str(ours.prompt.keys_LHTD.dtype) == f"torch.{dtype}"
    assert torch.equal(ours.prompt.keys_LHTD, plain.prompt.keys_LHTD)
    for own, expected in zip(ours.chunks, plain.chunks, strict=True):
        for level in LEVELS:
            assert torch.equal(own[level].keys_LHTD, expected[level].keys_LHTD)
            assert torch.equal(own[level].values_LHTD, expected[level].values_LHTD)
    assert torch.equal(ours.logits_TV, plain.logits_TV)
    assert (ours.tokens, ours.scores) == (plain.tokens, plain.scores)
    assert resting == 0, "weights stay on the device"


def test_refusals(process: RankProcesses, two_ranks: RankProcesses, checkpoint: Path) -> None:
    [error] = process.run(programs.offload_to, checkpoint, "moon")
    assert isinstance(error, ConfigError)
    assert str(error) == "weights can be offloaded to cpu, not to 'moon'"
    for error in two_ranks.run(programs.offload_to, checkpoint, "cpu"):
        assert isinstance(error, ConfigError)
        assert "in a process of its own" in str(error)
