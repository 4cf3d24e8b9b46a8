from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from videox2l.config import Budget, CompressionConfig, GenerationConfig, SamplingConfig, SelectionConfig, to_dict
from videox2l.errors import ConfigError

NAN = float("nan")
BAD: dict[str, Callable[[], object]] = {
    "no frames a second": lambda: SamplingConfig(fps=0),
    "negative frames a second": lambda: SamplingConfig(fps=-1),
    "absurd frames a second": lambda: SamplingConfig(fps=1e9),
    "frames a second not a number": lambda: SamplingConfig(fps=NAN),
    "no frames": lambda: SamplingConfig(frames=0),
    "negative limit": lambda: SamplingConfig(max_frames=-5),
    "number and limit": lambda: SamplingConfig(frames=5, max_frames=5),
    "ratio 0": lambda: CompressionConfig(low_ratio=0),
    "negative ratio": lambda: CompressionConfig(high_ratio=-8),
    "levels the wrong way round": lambda: CompressionConfig(low_ratio=16, high_ratio=2),
    "empty chunks": lambda: CompressionConfig(frames_per_chunk=0),
    "edge ratio 0": lambda: CompressionConfig(edge_ratio=0),
    "unknown edge ratio": lambda: CompressionConfig(edge_ratio="high"),  # type: ignore[arg-type]
    "unknown remainder": lambda: CompressionConfig(remainder="carry"),  # type: ignore[arg-type]
    "unknown prefill": lambda: CompressionConfig(prefill="double"),  # type: ignore[arg-type]
    "negative top-k": lambda: SelectionConfig(top_k=-1),
    "no tokens": lambda: GenerationConfig(max_new_tokens=0),
    "negative temperature": lambda: GenerationConfig(temperature=-0.1),
    "temperature not a number": lambda: GenerationConfig(temperature=NAN),
    "top-p 0": lambda: GenerationConfig(top_p=0),
    "top-p above 1": lambda: GenerationConfig(top_p=1.1),
    "seed that no generator takes": lambda: GenerationConfig(seed=2**64),
}


@pytest.mark.parametrize("case", BAD)
def test_impossible_settings_are_refused_when_made(case: str) -> None:
    with pytest.raises(ConfigError):
        BAD[case]()


@pytest.mark.parametrize("limit", [-1, NAN, math.inf])
def test_a_budget_is_any_finite_number(limit: float) -> None:
    for name in ("max_low_chunks", "max_bytes", "max_first_token_ms"):
        Budget(**{name: 10**400})  # though no float is as large
        with pytest.raises(ConfigError, match=name):
            Budget(**{name: limit})


def test_an_exact_prefill_goes_without_saying() -> None:
    """What is stored and fingerprinted is as it was before there was a choice."""
    assert "prefill" not in to_dict(CompressionConfig())
    assert to_dict(CompressionConfig(prefill="single-pass"))["prefill"] == "single-pass"
    for compression in (CompressionConfig(), CompressionConfig(prefill="single-pass")):
        assert CompressionConfig(**to_dict(compression)) == compression
