"""The exact identities of bi-level prefill, on a random model."""

from __future__ import annotations

import itertools

import pytest
import torch

from videox2l.config import CompressionConfig
from videox2l.errors import ModelError
from videox2l.kv import KV, LEVELS, ChunkKV, mix, reload
from videox2l.kv.rope import rotate
from videox2l.models.video_xl.model import VideoXL
from videox2l.models.video_xl.vst import vst_layout

COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=8)


def visual_tokens(model: VideoXL, count: int, seed: int = 0) -> torch.Tensor:
    hidden = model.network.config.text.hidden_size
    return torch.randn(count, hidden, generator=torch.Generator().manual_seed(seed)).to(
        model.network.projector[0].weight
    )


def run(model: VideoXL, tokens_TN: torch.Tensor, lengths: list[int], compression: CompressionConfig) -> list[ChunkKV]:
    prefill = model.start_prefill(compression)
    pieces = tokens_TN.split(lengths)
    return [prefill.append(piece, last=index == len(pieces) - 1) for index, piece in enumerate(pieces)]


def same(a: KV, b: KV, tolerance: float = 0.0) -> None:
    torch.testing.assert_close(a.keys_LHTD, b.keys_LHTD, atol=tolerance, rtol=0)
    torch.testing.assert_close(a.values_LHTD, b.values_LHTD, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    ("raw", "ratio", "remainder", "rows"),
    [
        (8, 4, "close", [4, 9]),
        (8, 4, "floor", [4, 9]),
        (10, 4, "close", [4, 9, 12]),
        (10, 4, "floor", [4, 9]),
        (3, 4, "close", [3]),
        (3, 4, "floor", []),
        (4, 1, "close", [1, 3, 5, 7]),
    ],
)
def test_vst_rows(raw: int, ratio: int, remainder: str, rows: list[int]) -> None:
    layout = vst_layout(raw, ratio, remainder)
    assert layout.vst_rows.tolist() == rows
    assert sorted(layout.raw_rows.tolist() + rows) == list(range(raw + len(rows)))


def test_all_chunks_selected_is_the_low_pass_and_none_the_high_pass(random_model: VideoXL) -> None:
    """Mixing reproduces, bit for bit, the rotated memory that each pass attended to."""
    tokens_TN = visual_tokens(random_model, 100)
    prefill = random_model.start_prefill(COMPRESSION)
    chunks = [prefill.append(piece, last=index == 4) for index, piece in enumerate(tokens_TN.split(20))]
    high = [chunk["high"] for chunk in chunks]
    for level, low in (("low", {i: chunk["low"] for i, chunk in enumerate(chunks)}), ("high", {})):
        mixed = mix(prefill.prompt, reload(high, low), lambda n, dtype: random_model.rope_tables(0, n, dtype))
        memory = prefill._memory[level]
        assert mixed.tokens == memory.tokens == prefill.memory_tokens(level)
        assert torch.equal(mixed.keys_LHTD, memory.keys_LHTD[:, :, : memory.tokens])
        assert torch.equal(mixed.values_LHTD, memory.values_LHTD[:, :, : memory.tokens])


@pytest.mark.parametrize("level", LEVELS)
def test_equals_one_forward_over_the_whole_video_with_a_block_mask(random_model: VideoXL, level: str) -> None:
    """Chunked = one-shot: every chunk in one dense forward, each row masked to what its chunk may see."""
    lengths = [12, 12, 12, 7]
    tokens_TN = visual_tokens(random_model, sum(lengths))
    chunks = run(random_model, tokens_TN, lengths, COMPRESSION)
    expected = one_shot(random_model, tokens_TN, lengths, level)
    for chunk, kv in zip(chunks, expected, strict=True):
        same(chunk[level], kv, tolerance=2e-4)  # float32, values up to ~10 with these random weights


@torch.inference_mode()
def one_shot(model: VideoXL, tokens_TN: torch.Tensor, lengths: list[int], level: str) -> list[KV]:
    """Dense attention over [prompt, all windows] where each VST is listed twice: in its window and in the memory."""
    decoder, vsts = model.network.language_model.model, model.network.vst
    template = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    prefix = torch.tensor(model.tokenizer(template, split_special_tokens=False)["input_ids"])
    rows, kinds, positions, owner = (
        [decoder.embed_tokens(prefix)],
        [torch.zeros(len(prefix))],
        [torch.arange(len(prefix))],
        [torch.full((len(prefix),), -1)],
    )
    start = len(prefix)
    memory_positions = []
    for index, piece in enumerate(tokens_TN.split(lengths)):
        ratio = COMPRESSION.ratio(level, edge=index in (0, len(lengths) - 1))
        layout = vst_layout(len(piece), ratio, "close")
        window = torch.empty(layout.length, tokens_TN.shape[1])
        window[layout.raw_rows], window[layout.vst_rows] = piece, vsts.embedding.weight[0]
        kind = torch.ones(layout.length)
        kind[layout.vst_rows] = 2
        rows.append(window), kinds.append(kind), owner.append(torch.full((layout.length,), index))
        positions.append(start + torch.arange(layout.length))
        memory_positions.append(start + torch.arange(len(layout.vst_rows)))
        start += len(layout.vst_rows)
    hidden, kind, position, chunk = torch.cat(rows)[None], torch.cat(kinds), torch.cat(positions), torch.cat(owner)
    vst = (kind == 2).nonzero().squeeze(1)
    memory_position = torch.cat(memory_positions)
    # keys: all rows at their own place, then all VSTs at their place in the memory
    own = (chunk[:, None] == chunk[None]) & (position[:, None] >= position[None]) | (chunk[None] == -1) & (
        position[:, None] >= position[None]
    )
    seen = torch.cat([own, chunk[vst][None] < chunk[:, None]], dim=1)
    out_keys, out_values = [], []
    for layer, extra in zip(decoder.layers, vsts.layers, strict=True):
        normed, attention = layer.input_layernorm(hidden), layer.self_attn
        states = []
        for name in ("q_proj", "k_proj", "v_proj"):
            projected = getattr(attention, name)(normed)
            projected[:, vst] = getattr(extra, name)(normed[:, vst])
            states.append(projected.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2))
        queries, keys, values = states
        out_keys.append(keys[0, :, vst]), out_values.append(values[0, :, vst])

        def turn(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
            cos, sin = decoder.rotary_emb(x, at[None])
            return rotate(x, (cos[0], sin[0]))

        all_keys = torch.cat([turn(keys, position), turn(keys[:, :, vst], memory_position)], dim=2)
        all_values = torch.cat([values, values[:, :, vst]], dim=2)
        attended = torch.nn.functional.scaled_dot_product_attention(
            turn(queries, position), all_keys, all_values, attn_mask=seen, enable_gqa=True
        )
        hidden = hidden + attention.o_proj(attended.transpose(1, 2).flatten(2))
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    counts = [len(part) for part in memory_positions]
    return [
        KV(k, v)
        for k, v in zip(torch.stack(out_keys).split(counts, 2), torch.stack(out_values).split(counts, 2), strict=True)
    ]


@pytest.mark.parametrize("length", [1, 7, 16, 60])
def test_any_chunk_size(random_model: VideoXL, length: int) -> None:
    tokens_TN = visual_tokens(random_model, 60)
    lengths = [length] * (60 // length) + ([60 % length] if 60 % length else [])
    chunks = run(random_model, tokens_TN, lengths, COMPRESSION)
    for index, (chunk, raw) in enumerate(zip(chunks, lengths, strict=True)):
        edge = index in (0, len(lengths) - 1)
        for level in LEVELS:
            assert chunk[level].tokens == -(-raw // COMPRESSION.ratio(level, edge=edge))
            assert chunk[level].keys_LHTD.isfinite().all()


def test_a_later_chunk_does_not_change_an_earlier_one(random_model: VideoXL) -> None:
    tokens_TN = visual_tokens(random_model, 80)
    other_TN = torch.cat([tokens_TN[:40], visual_tokens(random_model, 40, seed=1)])
    a, b = (run(random_model, t, [20] * 4, COMPRESSION) for t in (tokens_TN, other_TN))
    for level in LEVELS:
        same(a[1][level], b[1][level])
        assert not torch.equal(a[2][level].keys_LHTD[-1], b[2][level].keys_LHTD[-1])


def test_several_videos_at_once(random_model: VideoXL) -> None:
    """Interleaved prefills equal prefills one after the other: no state hides in the model."""
    videos = [visual_tokens(random_model, 60, seed) for seed in range(3)]
    alone = [run(random_model, tokens_TN, [20] * 3, COMPRESSION) for tokens_TN in videos]
    prefills = [random_model.start_prefill(COMPRESSION) for _ in videos]
    for index in range(3):
        for video, prefill in enumerate(prefills):
            chunk = prefill.append(videos[video].split(20)[index], last=index == 2)
            for level in LEVELS:
                same(chunk[level], alone[video][index][level])


@pytest.mark.parametrize(("edge_ratio", "tokens"), [("low", [10, 3, 10]), ("level", [3, 3, 3]), (5, [4, 3, 4])])
def test_ratio_of_the_first_and_last_chunk(random_model: VideoXL, edge_ratio: object, tokens: list[int]) -> None:
    compression = CompressionConfig(low_ratio=2, high_ratio=8, edge_ratio=edge_ratio)  # type: ignore[arg-type]
    chunks = run(random_model, visual_tokens(random_model, 60), [20] * 3, compression)
    assert [chunk["high"].tokens for chunk in chunks] == tokens


def test_first_chunk_is_equal_at_both_levels_but_the_last_is_not(random_model: VideoXL) -> None:
    chunks = run(random_model, visual_tokens(random_model, 60), [20] * 3, COMPRESSION)
    same(chunks[0]["low"], chunks[0]["high"])
    assert chunks[2]["low"].tokens == chunks[2]["high"].tokens
    assert not torch.equal(chunks[2]["low"].keys_LHTD, chunks[2]["high"].keys_LHTD)


def test_exported_kvs_do_not_alias_the_memory(random_model: VideoXL) -> None:
    """A writer may hold a chunk's KVs while later chunks are prefilled."""
    prefill = random_model.start_prefill(COMPRESSION)
    first, *rest = visual_tokens(random_model, 80).split(20)
    chunk = prefill.append(first, last=False)
    before = {level: chunk[level].keys_LHTD.clone() for level in LEVELS}
    for index, piece in enumerate(rest):
        prefill.append(piece, last=index == 2)
    for level in LEVELS:
        assert torch.equal(chunk[level].keys_LHTD, before[level])


def test_memory_grows_with_the_kept_tokens_only(random_model: VideoXL) -> None:
    prefill = random_model.start_prefill(CompressionConfig(low_ratio=8, high_ratio=16))
    for piece in visual_tokens(random_model, 40 * 40).split(40):
        prefill.append(piece, last=False)
    memory = prefill._memory["high"]
    window = 40 + 3
    assert memory.keys_LHTD.shape[2] <= 2 * (memory.tokens + window)


def test_no_chunk_after_the_last(random_model: VideoXL) -> None:
    prefill = random_model.start_prefill(COMPRESSION)
    prefill.append(visual_tokens(random_model, 20), last=True)
    with pytest.raises(ModelError, match="last chunk"):
        prefill.append(visual_tokens(random_model, 20), last=False)


def test_bfloat16_stays_near_float32(random_checkpoint, random_model: VideoXL) -> None:
    """bf16 has 8 bits of mantissa: relative error of a few 2^-8 a layer, measured against the KVs' own size."""
    from videox2l.models import load_model

    half = load_model(str(random_checkpoint), device="cpu", dtype="bfloat16")
    tokens_TN = visual_tokens(random_model, 60)
    for a, b in itertools.product(LEVELS, [0]):
        exact = run(random_model, tokens_TN, [20] * 3, COMPRESSION)[1 + b][a]
        rounded = run(half, tokens_TN, [20] * 3, COMPRESSION)[1 + b][a]
        assert rounded.keys_LHTD.dtype == torch.bfloat16
        for ours, other in ((exact.keys_LHTD, rounded.keys_LHTD), (exact.values_LHTD, rounded.values_LHTD)):
            error = (ours - other.float()).square().mean().sqrt() / ours.square().mean().sqrt()
            assert error < 0.05
