"""Each compressor on a chunk of which it is known what should stay."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest
import torch

from videox2l.errors import ConfigError
from videox2l.kv import KV
from videox2l.models.plain.compressors import COMPRESSORS, DenseChunk, Share
from videox2l.models.plain.settings import PlainSettings, parse_settings

LAYERS, HEADS, QUERIES, FRAMES, PER_FRAME, DIM = 2, 2, 4, 4, 3, 8
TOKENS = FRAMES * PER_FRAME


@pytest.fixture
def chunk() -> DenseChunk:
    generator = torch.Generator().manual_seed(0)

    def random(heads: int, tokens: int) -> torch.Tensor:
        return torch.randn(LAYERS, heads, tokens, DIM, generator=generator)

    kv = KV(random(HEADS, TOKENS), random(HEADS, TOKENS))
    return DenseChunk(kv, random(QUERIES, TOKENS), random(QUERIES, 5), PER_FRAME)


def places(kept: KV, chunk: DenseChunk) -> torch.Tensor:
    """Which tokens were kept, [L, H, K]; fails where a kept token is none of the chunk's."""
    same_LHKT = (kept.keys_LHTD[:, :, :, None] == chunk.kv.keys_LHTD[:, :, None]).all(-1)
    assert (same_LHKT.sum(-1) == 1).all()
    places_LHK = same_LHKT.int().argmax(-1)
    rows = places_LHK[..., None].expand(*places_LHK.shape, DIM)
    assert torch.equal(kept.values_LHTD, chunk.kv.values_LHTD.gather(2, rows))
    return places_LHK


@pytest.mark.parametrize("name", sorted(COMPRESSORS.keys() - {"average"}))
@pytest.mark.parametrize("share", get_args(Share))
def test_kept_tokens_are_in_time_order(chunk: DenseChunk, name: str, share: Share) -> None:
    kept_LHK = places(COMPRESSORS[name](chunk, 5, share), chunk)
    assert (kept_LHK.diff(dim=-1) > 0).all()
    if share != "head":
        assert (kept_LHK == kept_LHK[:, :1]).all()
    if share == "all":
        assert (kept_LHK == kept_LHK[:1, :1]).all()


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
def test_keeping_all_changes_nothing(chunk: DenseChunk, name: str) -> None:
    kept = COMPRESSORS[name](chunk, TOKENS, "head")
    assert torch.equal(kept.keys_LHTD, chunk.kv.keys_LHTD)
    assert torch.equal(kept.values_LHTD, chunk.kv.values_LHTD)


def test_average_is_the_mean_of_neighbours(chunk: DenseChunk) -> None:
    kept = COMPRESSORS["average"](chunk, 4, "head")
    for states, means in ((chunk.kv.keys_LHTD, kept.keys_LHTD), (chunk.kv.values_LHTD, kept.values_LHTD)):
        torch.testing.assert_close(means, states.unflatten(2, (4, 3)).mean(3))
    uneven = COMPRESSORS["average"](chunk, 5, "head").keys_LHTD  # groups of 3, 2, 3, 2, 2
    torch.testing.assert_close(uneven[:, :, 0], chunk.kv.keys_LHTD[:, :, :3].mean(2))
    torch.testing.assert_close(uneven[:, :, 4], chunk.kv.keys_LHTD[:, :, 10:].mean(2))


def test_key_norm_keeps_short_keys(chunk: DenseChunk) -> None:
    chunk.kv.keys_LHTD[:, :, 7] *= 0.01
    assert (places(COMPRESSORS["key_norm"](chunk, 1, "head"), chunk) == 7).all()


def test_key_similarity_keeps_the_odd_one(chunk: DenseChunk) -> None:
    chunk.kv.keys_LHTD.abs_()
    chunk.kv.keys_LHTD[:, :, 4] *= -1
    assert (places(COMPRESSORS["key_similarity"](chunk, 1, "head"), chunk) == 4).all()


def test_value_norm_leaves_out_what_was_there_a_frame_ago(chunk: DenseChunk) -> None:
    chunk.kv.values_LHTD[:] = 1
    chunk.kv.keys_LHTD[:, :, 3:6] = chunk.kv.keys_LHTD[:, :, :3]
    kept_LHK = places_of_frames(COMPRESSORS["value_norm"](chunk, 9, "head"), chunk)
    assert not set(kept_LHK) & {3, 4, 5}
    chunk.kv.values_LHTD[:, :, 11] *= 100
    assert set(places_of_frames(COMPRESSORS["value_norm"](chunk, 1, "head"), chunk)) == {11}


def places_of_frames(kept: KV, chunk: DenseChunk) -> list[int]:
    """The latest token with each kept key and value, where keys repeat."""
    found = []
    for key_D in kept.keys_LHTD[0, 0]:
        same_T = (chunk.kv.keys_LHTD[0, 0] == key_D).all(-1)
        found.append(int(same_T.nonzero()[0]))
    return found


@pytest.mark.parametrize("name", ["proxy_attention", "expected_attention"])
def test_attention_keeps_what_queries_point_at(chunk: DenseChunk, name: str) -> None:
    direction_D = torch.zeros(DIM)
    direction_D[2] = 6
    chunk.queries_LQTD[:] += direction_D
    chunk.proxy_LQPD[:] += direction_D
    chunk.kv.keys_LHTD[:, :, 8] = direction_D
    chunk.kv.values_LHTD[:, :, 8] = 1
    assert (places(COMPRESSORS[name](chunk, 1, "head"), chunk) == 8).all()


def test_expected_attention_is_the_mean_over_gaussian_queries(chunk: DenseChunk) -> None:
    """Against very many queries drawn from the same distribution, for one head."""
    from videox2l.models.plain.compressors.expected_attention import expected_attention

    queries_XD = chunk.queries_LQTD[0, :2].flatten(0, 1).double()
    covariance_DD = (queries_XD - queries_XD.mean(0)).T @ (queries_XD - queries_XD.mean(0)) / len(queries_XD)
    torch.manual_seed(0)
    noise_SD = torch.randn(200_000, DIM, dtype=torch.double) @ torch.linalg.cholesky(covariance_DD).T
    logits_ST = (queries_XD.mean(0) + noise_SD) @ chunk.kv.keys_LHTD[0, 0].double().T * DIM**-0.5
    weights_T = logits_ST.exp().mean(0)
    expected_T = weights_T / weights_T.sum() * chunk.kv.values_LHTD[0, 0].norm(dim=-1).double()
    torch.testing.assert_close(expected_attention(chunk)[0, 0].double(), expected_T, rtol=0.05, atol=1e-3)


def test_settings_of_a_name() -> None:
    assert parse_settings("folder") == PlainSettings()
    found = parse_settings("folder?compressor=key_norm&window=2&share=all")
    assert found == PlainSettings("key_norm", "all", 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("compressor=best", "there are average"),
        ("share=none", "head, layer, all"),
        ("window=-1", "number of chunks"),
        ("ratio=2", "no setting 'ratio'"),
    ],
)
def test_impossible_settings(settings: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_settings(f"folder?{settings}")


@pytest.mark.parametrize("name", ["average", "key_norm"])
def test_what_is_kept_goes_to_its_own_position(chunk: DenseChunk, name: str) -> None:
    """With three positions a token: a mean to the mean position, any other to that of the token it is."""
    positions_3T = torch.stack([torch.arange(TOKENS) // 3, torch.arange(TOKENS) % 3, 7 + torch.arange(TOKENS)])
    kept = COMPRESSORS[name](dataclasses.replace(chunk, positions_3T=positions_3T), 6, "head")
    if name == "average":
        expected = positions_3T.float().unflatten(1, (6, 2)).mean(-1)[:, None, None].expand(3, LAYERS, HEADS, 6)
        assert kept.positions_3LHK is not None
        assert torch.equal(kept.positions_3LHK, expected)
    else:
        assert kept.positions_3LHK is None
        assert torch.equal(kept.places_LHK, places(kept, chunk))
