"""Which attention runs, and that every one of them sees the same keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AttentionInterface

from videox2l.config import CompressionConfig
from videox2l.errors import ModelError
from videox2l.kv import LEVELS, ChunkKV
from videox2l.models import load_model
from videox2l.models.video_xl.attention import ATTENTION, FLASH, attend, use_attention, window_mask
from videox2l.models.video_xl.model import VideoXL

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
WRITTEN_OUT = "written-out"


@pytest.fixture
def model(random_checkpoint: Path) -> VideoXL:
    """A model of the test's own: which attention it uses is part of it."""
    found = load_model(str(random_checkpoint), device="cpu")
    assert isinstance(found, VideoXL)
    return found


@pytest.fixture
def calls() -> Iterator[list[tuple[int, int]]]:
    """Registers attention in plain arithmetic, lower-right aligned as flash-attention is; (queries, keys) of calls."""
    seen: list[tuple[int, int]] = []

    def written_out(
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        *,
        scaling: float,
        is_causal: bool,
    ) -> tuple[torch.Tensor, None]:
        assert is_causal
        assert attention_mask is None
        seen.append((query.shape[2], key.shape[2]))
        groups = query.shape[1] // key.shape[1]
        scores = query @ key.repeat_interleave(groups, 1).transpose(2, 3) * scaling
        hidden = torch.ones(scores.shape[2:], dtype=torch.bool).triu(key.shape[2] - query.shape[2] + 1)
        weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
        return (weights @ value.repeat_interleave(groups, 1)).transpose(1, 2), None

    AttentionInterface.register(WRITTEN_OUT, written_out)
    yield seen
    del AttentionInterface._global_mapping[WRITTEN_OUT]


def run(model: VideoXL) -> list[ChunkKV]:
    prefill = model.start_prefill(CompressionConfig(low_ratio=2, high_ratio=8))
    tokens_TN = torch.randn(60, 32, generator=torch.Generator().manual_seed(0))
    return [prefill.append(chunk, last=index == 2) for index, chunk in enumerate(tokens_TN.split(20))]


def test_a_registered_attention_is_what_runs(model: VideoXL, calls: list[tuple[int, int]]) -> None:
    expected = run(model)
    use_attention(model.decoder, WRITTEN_OUT)
    found = run(model)
    layers, prompt = model.geometry.layers - 1, model.start_prefill(model.default_compression).prompt.tokens
    del calls[-layers:]  # of that last prompt
    # The prompt; the first chunk once, as both levels are the same; the second and third at both levels.
    windows = [(prompt, 0), (30, prompt), (30, prompt + 10), (23, prompt + 10), (30, prompt + 20), (30, prompt + 13)]
    assert calls == [(window, memory + window) for window, memory in windows for _ in range(layers)]
    for ours, theirs in zip(found, expected, strict=True):
        for level in LEVELS:
            torch.testing.assert_close(ours[level].keys_LHTD, theirs[level].keys_LHTD, atol=2e-4, rtol=0)
            torch.testing.assert_close(ours[level].values_LHTD, theirs[level].values_LHTD, atol=2e-4, rtol=0)


@pytest.mark.parametrize(("window", "memory"), [(1, 4), (7, 1), (6, 6), (3, 11)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mask_for_gpus_lets_the_same_keys_through(
    model: VideoXL, window: int, memory: int, dtype: torch.dtype
) -> None:
    """SDPA's causal bias works on a CPU too, slowly: what is tested is its alignment, and how heads are grouped."""
    attention: Any = model.decoder.model.layers[0].self_attn
    queries = torch.randn(1, 4, window, 8, dtype=dtype)
    keys, values = torch.randn(2, 1, 2, memory + window, 8, dtype=dtype)
    expected = attend(attention, queries, keys, values, window_mask(window, memory, CPU))
    found = attend(attention, queries, keys, values, window_mask(window, memory, CUDA))
    torch.testing.assert_close(found, expected)


REFUSED = dict.fromkeys(FLASH, "needs a GPU") | {"eager": "cannot run a prefill", "no-such": "no-such"}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_is_refused(model: VideoXL, name: str) -> None:
    with pytest.raises(ModelError, match=REFUSED[name]) as error:
        use_attention(model.decoder, name)
    assert "sdpa" in str(error.value)


def test_loading_with_an_attention(random_checkpoint: Path) -> None:
    assert load_model(str(random_checkpoint), device="cpu", attention="sdpa").decoder is not None
    with pytest.raises(ModelError, match="flash_attention_2"):
        load_model(str(random_checkpoint), device="cpu", attention="flash_attention_2")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="flash kernels need a GPU")
@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_kernels_of_a_gpu(name: str, dtype: str) -> None:
    """Every installed kernel gives the KVs of a float32 CPU, up to the rounding of its dtype."""
    exact, other = load_model("tiny", device="cpu"), load_model("tiny", device="cuda", dtype=dtype)
    assert isinstance(exact, VideoXL)
    assert isinstance(other, VideoXL)
    try:
        use_attention(other.decoder, name)
    except ModelError as error:
        pytest.skip(str(error))
    tokens_TN = torch.randn(3, 32, 128, generator=torch.Generator().manual_seed(0))
    prefills = [model.start_prefill(model.default_compression) for model in (exact, other)]
    for index, chunk in enumerate(tokens_TN):
        expected, found = (prefill.append(chunk, last=index == 2) for prefill in prefills)
        for level in LEVELS:
            ours, theirs = found[level].keys_LHTD.float().cpu(), expected[level].keys_LHTD
            error = (ours - theirs).square().mean().sqrt() / theirs.square().mean().sqrt()
            assert error < (0.05 if dtype == "bfloat16" else 1e-3)
