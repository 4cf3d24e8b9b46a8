from __future__ import annotations

import pytest

from videox2l.selection.fusion import fuse


def test_ranks_are_added_whatever_the_scores_scale() -> None:
    assert fuse([[0.1, 0.3, 0.2], [1000, 3000, 2000]]) == pytest.approx([2 / 63, 2 / 61, 2 / 62])


def test_what_both_find_good_beats_what_one_finds_best() -> None:
    fused = fuse([list(range(30, 0, -1)), [0, 99, *range(28, 0, -1)]])
    assert fused.index(max(fused)) == 1


def test_equal_scores_share_a_rank() -> None:
    assert fuse([[5, 5, 1]]) == pytest.approx([1 / 61, 1 / 61, 1 / 63])
