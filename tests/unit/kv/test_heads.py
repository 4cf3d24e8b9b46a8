"""KVs cut along their heads."""

from __future__ import annotations

import pytest
import torch

from videox2l.errors import ConfigError
from videox2l.kv import KV
from videox2l.kv.heads import HeadRange, head_ranges, hold_all_heads, join_heads, split_heads


def random_kv(heads: int, tokens: int = 5) -> KV:
    generator = torch.Generator().manual_seed(heads)
    return KV(*torch.randn(2, 3, heads, tokens, 8, generator=generator))


@pytest.mark.parametrize(("heads", "ranks"), [(4, 1), (4, 2), (4, 4), (6, 3)])
@pytest.mark.parametrize("tokens", [0, 5])
def test_joining_undoes_splitting(heads: int, ranks: int, tokens: int) -> None:
    whole = random_kv(heads, tokens)
    parts = split_heads(whole, ranks)
    assert [part.keys_LHTD.shape for part in parts] == [(3, heads // ranks, tokens, 8)] * ranks
    joined = join_heads(parts)
    assert torch.equal(joined.keys_LHTD, whole.keys_LHTD)
    assert torch.equal(joined.values_LHTD, whole.values_LHTD)


def test_every_head_belongs_to_one_rank_in_order() -> None:
    assert [list(range(heads.start, heads.stop)) for heads in head_ranges(6, 3)] == [[0, 1], [2, 3], [4, 5]]
    whole = random_kv(6)
    assert torch.equal(HeadRange(2, 4).of(whole).values_LHTD, whole.values_LHTD[:, [2, 3]])


@pytest.mark.parametrize("ranks", [0, 3, 8])
def test_what_would_fit_is_said(ranks: int) -> None:
    with pytest.raises(ConfigError, match=f"over {ranks} ranks: use 1 or 2 or 4$"):
        head_ranges(4, ranks)
    with pytest.raises(ConfigError):
        split_heads(random_kv(4), ranks)


@pytest.mark.parametrize(
    ("ranges", "complete"),
    [
        ([(0, 4)], True),
        ([(0, 1), (1, 4)], True),
        ([], False),
        ([(0, 3)], False),
        ([(0, 5)], False),
        ([(1, 4)], False),
        ([(0, 2), (3, 4)], False),
        ([(0, 3), (2, 4)], False),
        ([(2, 4), (0, 2)], False),
    ],
)
def test_whether_ranges_hold_all_heads(ranges: list[tuple[int, int]], complete: bool) -> None:
    assert hold_all_heads([HeadRange(*pair) for pair in ranges], 4) == complete


def test_heads_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="from 2 to 2"):
        HeadRange(2, 2)
    with pytest.raises(ValueError, match="KVs of 2 heads do not hold heads 2 to 3"):
        HeadRange(2, 4).of(random_kv(2))
