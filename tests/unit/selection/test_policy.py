from __future__ import annotations

import pytest

from videox2l.errors import ConfigError
from videox2l.selection.policy import POLICIES, choose

PEAKS = [0.0, 0.1, 0.9, 1.0, 0.9, 0.0, 0.0, 0.8, 0.0]


@pytest.mark.parametrize(
    ("policy", "k", "expected"),
    [
        ("top_k", 3, [3, 2, 4]),
        ("threshold", 9, [3, 2, 4, 7]),
        ("threshold:0.9", 9, [3]),
        ("threshold:0.5", 2, [3, 2]),
        ("mass:0.2", 9, [3]),
        ("mass:0.5", 9, [3, 2]),
        ("mass:1", 9, [3, 2, 4, 7, 1]),
        ("mass:1", 2, [3, 2]),
        ("coverage", 2, [3, 7]),
        ("coverage:0", 3, [3, 2, 4]),
    ],
)
def test_choices(policy: str, k: int, expected: list[int]) -> None:
    assert choose(policy, PEAKS, k) == expected


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_at_the_edges(policy: str) -> None:
    assert choose(policy, PEAKS, 0) == []
    assert choose(policy, [], 3) == []
    assert choose(policy, [0.5], 3) == [0]
    assert choose(policy, [0.5] * 4, 1) == [0]
    many = choose(policy, PEAKS, 99)
    assert many[0] == 3
    assert len(many) == len(set(many)) <= len(PEAKS)


@pytest.mark.parametrize("policy", ["best", "", "threshold:2", "mass:-0.1", "mass:much", "mass:nan"])
def test_what_is_no_policy(policy: str) -> None:
    with pytest.raises(ConfigError, match="policy"):
        choose(policy, PEAKS, 2)
