"""Presses of the real ``kvpress`` as compressors, against their definitions and against our own scores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.unit.models.plain.conftest import plain
from tests.unit.models.plain.test_compressors import chunk, places
from videox2l.config import CompressionConfig
from videox2l.errors import ConfigError
from videox2l.kv import KV
from videox2l.models.plain.compressors import DenseChunk, find_compressor
from videox2l.models.plain.compressors.expected_attention import expected_attention
from videox2l.models.plain.compressors.kvpress import PRESSES, press_scores
from videox2l.models.plain.settings import PlainSettings

__all__ = ["chunk"]

LONG = 300
"""Tokens that every press is content with."""


@pytest.fixture
def long_chunk() -> DenseChunk:
    generator = torch.Generator().manual_seed(1)
    keys, values, queries = (torch.randn(2, heads, LONG, 8, generator=generator) for heads in (2, 2, 4))
    return DenseChunk(KV(keys, values), queries, torch.randn(2, 4, 5, 8, generator=generator), 3)


@pytest.mark.parametrize("press", PRESSES)
def test_presses_keep_tokens_in_time_order_and_the_same_ones_again(long_chunk: DenseChunk, press: str) -> None:
    compress = find_compressor(f"kvpress:{press}")
    kept_LHK = places(compress(long_chunk, 50, "head"), long_chunk)
    assert kept_LHK.shape == (2, 2, 50)
    assert (kept_LHK.diff(dim=-1) > 0).all()
    assert torch.equal(kept_LHK, places(compress(long_chunk, 50, "head"), long_chunk))
    assert not torch.equal(kept_LHK, torch.arange(LONG - 50, LONG).expand_as(kept_LHK))


@pytest.mark.parametrize(("press", "ours"), [("KnormPress", "key_norm"), ("KeyDiffPress", "key_similarity")])
def test_what_both_have_keeps_the_same_tokens(long_chunk: DenseChunk, press: str, ours: str) -> None:
    theirs_LHK = places(find_compressor(f"kvpress:{press}")(long_chunk, 40, "head"), long_chunk)
    assert torch.equal(theirs_LHK, places(find_compressor(ours)(long_chunk, 40, "head"), long_chunk))


def test_expected_attention_is_ours_where_one_head_reads_another(long_chunk: DenseChunk) -> None:
    """Over several query heads a KV head, kvpress takes the mean of the heads, we the queries of all together."""
    own = DenseChunk(long_chunk.kv, long_chunk.queries_LQTD[:, :2], long_chunk.proxy_LQPD, 3)
    theirs = press_scores("ExpectedAttentionPress", own.kv.keys_LHTD, own.kv.values_LHTD, own.queries_LQTD)
    torch.testing.assert_close(theirs, expected_attention(own), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("press", ["ExpectedAttentionPress", "NonCausalAttnPress", "SnapKVPress", "TOVAPress"])
def test_attention_keeps_what_queries_point_at(chunk: DenseChunk, press: str) -> None:
    direction_D = torch.zeros(8)
    direction_D[2] = 6
    chunk.queries_LQTD[:] += direction_D
    chunk.proxy_LQPD[:] += direction_D
    chunk.kv.keys_LHTD[:, :, 8] = direction_D
    chunk.kv.values_LHTD[:, :, 8] = 1
    scores_LHT = press_scores(
        press,
        chunk.kv.keys_LHTD,
        chunk.kv.values_LHTD,
        chunk.proxy_LQPD if PRESSES[press] == "window" else chunk.queries_LQTD,
    )
    # Some smooth over two neighbours on either side.
    assert ((scores_LHT.argmax(-1) - 8).abs() <= 2).all()
    assert (scores_LHT[..., 8] > 2 * scores_LHT[..., 1]).all()


def test_as_the_compressor_of_a_model(plain_checkpoints: dict[str, Path]) -> None:
    model = plain(plain_checkpoints["llava_onevision"], "?compressor=kvpress:SnapKVPress")
    prefill = model.start_prefill(CompressionConfig(2, 8, 5, "level"))
    frames_FHWC = torch.randint(0, 256, (5, *model_size(model), 3), dtype=torch.uint8)
    kvs = prefill.append(model.encode_frames(frames_FHWC), last=True)
    assert kvs["low"].tokens > kvs["high"].tokens > 0
    assert PlainSettings("kvpress:SnapKVPress").document()["kvpress"] == "0.5.5"
    assert "kvpress" not in PlainSettings().document()


def model_size(model) -> tuple[int, int]:
    return model.frame_format.height, model.frame_format.width


def test_unknown_presses_and_too_short_chunks(chunk: DenseChunk) -> None:
    with pytest.raises(ConfigError, match="there are KnormPress"):
        PlainSettings("kvpress:BestPress")
    with pytest.raises(ConfigError, match="needs 256 tokens"):
        find_compressor("kvpress:LagKVPress")(chunk, 5, "head")


def test_attention_stays_what_it_was() -> None:
    """The package wraps transformers' attention functions when it is imported, which would change every model's."""
    program = """
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
before = dict(ALL_ATTENTION_FUNCTIONS.items())
from videox2l.models.plain.compressors.kvpress import version
assert version()
assert dict(ALL_ATTENTION_FUNCTIONS.items()) == before
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
