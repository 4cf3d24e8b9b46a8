from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from transformers import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding, apply_rotary_pos_emb

from videox2l.kv import KV, Mixer, concatenate, lay_side_by_side, mix, reload
from videox2l.kv.rope import KeptTables, RopeTables, rotate, rotate_in_place

ROTARY = Qwen2RotaryEmbedding(Qwen2Config(hidden_size=32, num_attention_heads=4, num_key_value_heads=2))


def tables(count: int, dtype: torch.dtype = torch.float32) -> RopeTables:
    cos_BTD, sin_BTD = ROTARY(torch.empty((), dtype=dtype), torch.arange(count)[None])
    return cos_BTD[0], sin_BTD[0]


def random_kv(tokens: int, seed: int, dtype: torch.dtype = torch.float32) -> KV:
    generator = torch.Generator().manual_seed(seed)
    return KV(*(torch.randn(3, 2, tokens, 8, generator=generator).to(dtype) for _ in range(2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotation_is_transformers_own(dtype: torch.dtype) -> None:
    keys_LHTD = random_kv(6, 0, dtype).keys_LHTD
    cos_TD, sin_TD = tables(6, dtype)
    expected, _ = apply_rotary_pos_emb(keys_LHTD, keys_LHTD, cos_TD[None], sin_TD[None])
    assert torch.equal(rotate(keys_LHTD, (cos_TD, sin_TD)), expected)


def apart(kvs: list[KV]) -> None:
    """Each in buffers of its own, as they are when they are read."""


def out_of_order(kvs: list[KV]) -> None:
    """Side by side, but not in the order in which they are mixed: none may be taken for its neighbour."""
    kvs.reverse()
    lay_side_by_side(kvs)
    kvs.reverse()


@pytest.mark.parametrize("lie", [apart, lay_side_by_side, out_of_order])
@pytest.mark.parametrize("selected", [(), (1,), (0, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mix_equals_concatenating_and_rotating(
    selected: tuple[int, ...], dtype: torch.dtype, lie: Callable[[list[KV]], None]
) -> None:
    """The one-buffer path against the plain formula, wherever the parts lie in memory."""
    prompt = random_kv(3, 1, dtype)
    high = [random_kv(tokens, 10 + tokens, dtype) for tokens in (4, 1, 0, 4, 4)]
    lie(high)
    low = {index: random_kv(5, 20 + index, dtype) for index in selected}
    mixed = mix(prompt, reload(high, low), tables)
    joined = concatenate([prompt, *(low.get(index, kv) for index, kv in enumerate(high))])
    assert torch.equal(mixed.keys_LHTD, rotate(joined.keys_LHTD, tables(joined.tokens, dtype)))
    assert torch.equal(mixed.values_LHTD, joined.values_LHTD)


def test_laid_side_by_side_kvs_are_the_same_and_share_a_buffer() -> None:
    kvs = [replace(random_kv(tokens, tokens), next_position=tokens) for tokens in (4, 1, 0, 2)]
    laid = list(kvs)
    lay_side_by_side(laid)
    for found, expected in zip(laid, kvs, strict=True):
        assert torch.equal(found.keys_LHTD, expected.keys_LHTD)
        assert torch.equal(found.values_LHTD, expected.values_LHTD)
        assert found.next_position == expected.next_position
    assert len({kv.keys_LHTD.untyped_storage().data_ptr() for kv in laid}) == 1
    nothing: list[KV] = []
    lay_side_by_side(nothing)
    assert nothing == []


def test_chunk_slices_say_where_a_chunk_lies() -> None:
    high = [random_kv(tokens, tokens) for tokens in (4, 1, 0, 2)]
    mixed = mix(random_kv(3, 0), reload(high, {1: random_kv(5, 9)}), tables)
    assert [(part.start, part.stop) for part in mixed.chunk_slices] == [(3, 7), (7, 12), (12, 12), (12, 14)]
    assert torch.equal(mixed.values_LHTD[:, :, mixed.chunk_slices[1]], random_kv(5, 9).values_LHTD)


@pytest.mark.parametrize("index", [-1, 2, 99])
def test_low_kvs_of_no_chunk(index: int) -> None:
    with pytest.raises(IndexError, match="do not exist"):
        reload([random_kv(1, 0), random_kv(1, 1)], {index: random_kv(2, 2)})


def test_rotation_in_place_of_a_slice() -> None:
    keys_LHTD = random_kv(4, 3).keys_LHTD
    target = torch.zeros(3, 2, 9, 8)
    target[:, :, 2:6] = keys_LHTD
    rotate_in_place(target[:, :, 2:6], tables(4))
    assert torch.equal(target[:, :, 2:6], rotate(keys_LHTD, tables(4)))
    assert not target[:, :, :2].any()
    assert not target[:, :, 6:].any()


def test_kept_tables_are_those_that_would_be_made() -> None:
    made: list[int] = []

    def make(count: int, dtype: torch.dtype) -> RopeTables:
        made.append(count)
        return tables(count, dtype)

    kept = KeptTables(make)
    for dtype in (torch.float32, torch.bfloat16):
        for count in (100, 7, 140, 151, 0):
            found, expected = kept.first(count, dtype), tables(count, dtype)
            assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert made == [150, 226, 150, 226]


def test_a_memory_is_the_same_in_whatever_order_its_parts_come() -> None:
    prompt, *parts = [random_kv(tokens, tokens) for tokens in (3, 4, 1, 5, 2, 6)]
    whole = mix(prompt, parts, tables)
    mixer = Mixer(prompt, [part.tokens for part in parts], tables)
    for numbers in ((3,), (4, 0, 1), (2,)):
        mixer.place({number: parts[number] for number in numbers})
    mixed = mixer.finish()
    assert torch.equal(mixed.keys_LHTD, whole.keys_LHTD)
    assert torch.equal(mixed.values_LHTD, whole.values_LHTD)
    assert mixed.chunk_slices == whole.chunk_slices


def test_a_memory_without_chunks_is_the_prompt() -> None:
    prompt = random_kv(3, 1)
    mixed = mix(prompt, [], tables)
    assert torch.equal(mixed.keys_LHTD, rotate(prompt.keys_LHTD, tables(3)))
    assert torch.equal(mixed.values_LHTD, prompt.values_LHTD)


@pytest.mark.parametrize("next_position", [4, 9, 40])
def test_keys_in_place_keep_their_distances_to_text_behind_them(next_position: int) -> None:
    """Where text stands at n, the number of tokens; keys from the first on were made for it at ``next_position``."""
    parts = [random_kv(tokens, tokens) for tokens in (3, 4, 1)]
    places_T = torch.tensor([0, 1, 2, 3, 3, 3, 2, 1])  # as M-RoPE gives them: not in steps of 1
    places = places_T.split([part.tokens for part in parts])

    def at(places_T: torch.Tensor) -> RopeTables:
        cos_BTD, sin_BTD = ROTARY(torch.empty(()), places_T[None])
        return cos_BTD[0], sin_BTD[0]

    prompt, *chunks = (
        KV(rotate(part.keys_LHTD, at(where_T)), part.values_LHTD, next_position=end)
        for part, where_T, end in zip(parts, places, (3, 4, next_position), strict=True)
    )
    mixed = mix(prompt, chunks, tables)
    expected = rotate(concatenate(parts).keys_LHTD, at(places_T + mixed.tokens - next_position))
    torch.testing.assert_close(mixed.keys_LHTD, expected, atol=1e-5, rtol=0)


def test_keys_moved_otherwise_are_not_taken_over() -> None:
    """Of a memory whose keys stand at positions of their own: as long as this one, but for another text behind it."""
    prompt, *parts = [replace(random_kv(tokens, tokens), next_position=9) for tokens in (3, 4, 1)]
    base = mix(prompt, parts, tables)
    for next_position, expected in ((9, {0, 1}), (10, set())):
        assert Mixer(prompt, [4, 1], tables, next_position).unmoved(base) == expected
    # One token fewer in front moves all keys, also those of chunks in the same place.
    assert Mixer(prompt, [4, 2], tables, 9).unmoved(base) == set()
