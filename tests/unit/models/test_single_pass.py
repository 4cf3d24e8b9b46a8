"""Both levels from one pass: against the two passes, and against attention written out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tests.checkpoints import write_random_checkpoint
from videox2l.config import CompressionConfig
from videox2l.kv import KV, LEVELS, ChunkKV
from videox2l.kv.rope import rotate
from videox2l.models import load_model
from videox2l.models.video_xl.model import VideoXL
from videox2l.models.video_xl.vst import vst_layout

EXACT = CompressionConfig(low_ratio=2, high_ratio=8)
SINGLE = replace(EXACT, prefill="single-pass")

# float32, found to be below 1e-6; the two ways of prefilling differ by a few 1e-3.
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def deep_model(tmp_path_factory: pytest.TempPathFactory) -> VideoXL:
    """Of four layers: what differs between the passes takes two of them to reach a VST."""
    model = load_model(str(write_random_checkpoint(tmp_path_factory.mktemp("deep"), layers=4)), device="cpu")
    assert isinstance(model, VideoXL)
    return model


def video(*lengths: int) -> list[torch.Tensor]:
    """Visual tokens ``[T, 32]`` of chunks of these lengths."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, 32, generator=generator) for length in lengths]


def run(model: VideoXL, chunks: list[torch.Tensor], compression: CompressionConfig) -> list[ChunkKV]:
    prefill = model.start_prefill(compression)
    return [prefill.append(chunk, last=index == len(chunks) - 1) for index, chunk in enumerate(chunks)]


def assert_close(found: KV, expected: KV) -> None:
    torch.testing.assert_close(found.keys_LHTD, expected.keys_LHTD, atol=ROUNDING, rtol=0)
    torch.testing.assert_close(found.values_LHTD, expected.values_LHTD, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("edge_ratio", ["low", "level", 5])
@pytest.mark.parametrize("remainder", ["close", "floor"])
def test_the_high_level_is_that_of_two_passes(deep_model: VideoXL, edge_ratio: object, remainder: str) -> None:
    settings = {"edge_ratio": edge_ratio, "remainder": remainder}
    chunks = video(20, 20, 1, 20, 7)  # the one of a single token has no VST under "floor"
    exact = run(deep_model, chunks, replace(EXACT, **settings))
    single = run(deep_model, chunks, replace(SINGLE, **settings))
    for ours, theirs in zip(single, exact, strict=True):
        assert_close(ours["high"], theirs["high"])
        assert ours["low"].keys_LHTD.shape == theirs["low"].keys_LHTD.shape


def test_the_low_level_is_near_that_of_two_passes_but_another(deep_model: VideoXL) -> None:
    """Raw tokens differ behind the first layer, and so VSTs behind the second, and their KVs from the third on."""
    chunks = video(20, 20, 20)
    exact, single = (run(deep_model, chunks, one) for one in (EXACT, SINGLE))
    ours, theirs = single[1]["low"], exact[1]["low"]
    torch.testing.assert_close(ours.keys_LHTD[:2], theirs.keys_LHTD[:2], atol=ROUNDING, rtol=0)
    error = (ours.keys_LHTD[-1] - theirs.keys_LHTD[-1]).square().mean() / theirs.keys_LHTD[-1].square().mean()
    assert 1e-3 < error.sqrt() < 0.1


@pytest.mark.parametrize("edge_ratio", ["level", 4])
def test_levels_of_one_ratio_are_those_of_two_passes(deep_model: VideoXL, edge_ratio: object) -> None:
    """Then both read the same raw tokens behind equal memories, so nothing is lost."""
    alike = CompressionConfig(low_ratio=4, high_ratio=4, edge_ratio=edge_ratio)  # type: ignore[arg-type]
    chunks = video(20, 20, 7)
    exact = run(deep_model, chunks, alike)
    single = run(deep_model, chunks, replace(alike, prefill="single-pass"))
    for ours, theirs in zip(single, exact, strict=True):
        for level in LEVELS:
            assert_close(ours[level], theirs[level])


def test_equals_attention_by_hand(deep_model: VideoXL) -> None:
    chunks = video(20, 20, 13, 20)
    found = run(deep_model, chunks, SINGLE)
    for ours, theirs in zip(found, by_hand(deep_model, chunks, SINGLE), strict=True):
        for level in LEVELS:
            assert_close(ours[level], theirs[level])


@torch.inference_mode()
def by_hand(model: VideoXL, chunks: list[torch.Tensor], compression: CompressionConfig) -> list[ChunkKV]:
    """Raw tokens and high VSTs as one sequence behind the high memory; low VSTs behind the low memory and those."""
    decoder, vsts = model.network.language_model.model, model.network.vst
    prompt = model.start_prefill(compression).prompt
    past: dict[str, list[KV]] = {level: [prompt] for level in LEVELS}
    result = []
    for number, raw_TN in enumerate(chunks):
        edge = number in (0, len(chunks) - 1)
        layouts = {level: vst_layout(len(raw_TN), compression.ratio(level, edge=edge), "close") for level in LEVELS}
        hidden = {"raw": raw_TN} | {
            level: vsts.embedding.weight.expand(len(layouts[level].vst_rows), -1) for level in LEVELS
        }
        kept: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {level: [] for level in LEVELS}
        for index, (layer, vst_layer) in enumerate(zip(decoder.layers, vsts.layers, strict=True)):
            attention = layer.self_attn
            states = {
                name: [
                    getattr(attention if name == "raw" else vst_layer, projection)(layer.input_layernorm(rows_TN))
                    .unflatten(-1, (-1, attention.head_dim))
                    .transpose(0, 1)
                    for projection in ("q_proj", "k_proj", "v_proj")
                ]
                for name, rows_TN in hidden.items()
            }
            out = {}
            for level in LEVELS:
                kept[level].append((states[level][1], states[level][2]))
                layout = layouts[level]
                order = torch.cat([layout.raw_rows, layout.vst_rows]).argsort()
                queries, keys, values = (
                    torch.cat([states["raw"][kind], states[level][kind]], dim=1)[:, order] for kind in range(3)
                )
                keys = torch.cat([*(kv.keys_LHTD[index] for kv in past[level]), keys], dim=1)
                values = torch.cat([*(kv.values_LHTD[index] for kv in past[level]), values], dim=1)
                cos, sin = decoder.rotary_emb(keys, torch.arange(keys.shape[1])[None])
                before = keys.shape[1] - queries.shape[1]
                seen = torch.ones(queries.shape[1], keys.shape[1], dtype=torch.bool).tril(before)
                attended = scaled_dot_product_attention(
                    rotate(queries, (cos[0, before:], sin[0, before:]))[None],
                    rotate(keys, (cos[0], sin[0]))[None],
                    values[None],
                    attn_mask=seen,
                    enable_gqa=True,
                )
                out_TN = attention.o_proj(attended[0].transpose(0, 1).flatten(1))
                out[level] = out_TN[layout.vst_rows]
                out["raw"] = out_TN[layout.raw_rows]  # of the high level, which comes last
            for name, rows_TN in hidden.items():
                rows_TN = rows_TN + out[name]
                hidden[name] = rows_TN + layer.mlp(layer.post_attention_layernorm(rows_TN))
        chunk = {
            level: KV(torch.stack([k for k, _ in kept[level]]), torch.stack([v for _, v in kept[level]]))
            for level in LEVELS
        }
        for level in LEVELS:
            past[level].append(chunk[level])
        result.append(chunk)
    return result


def test_both_levels_are_announced_behind_the_pass(deep_model: VideoXL) -> None:
    prefill, seen = deep_model.start_prefill(SINGLE), []
    prefill.after_pass = seen.append
    for chunk in video(20, 20):
        prefill.append(chunk, last=False)
    assert seen == ["high", "low"] * 2
