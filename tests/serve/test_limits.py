"""How often a key may ask, by a clock of our own."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.serve.errors import RateLimitedError, describe
from pipelines.serve.keys import ApiKey, new_key
from pipelines.serve.limits import Limits


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(**limits: Any) -> ApiKey:
    return new_key("alice", **limits)[1]


def refused_for(limits: Limits, asking: ApiKey) -> int:
    """Seconds after which a refused client is to come again; 0 where it is not refused."""
    try:
        limits.admit(asking)
    except RateLimitedError as error:
        status, _, headers = describe(error)
        assert status == 429
        return int(headers["Retry-After"])
    return 0


def test_requests() -> None:
    clock = Clock()
    limits, alice = Limits(clock), key(requests_per_minute=6)
    assert [refused_for(limits, alice) for _ in range(7)] == [0] * 6 + [10]
    clock.now += 9.0
    assert refused_for(limits, alice) == 1
    clock.now += 1.0
    assert [refused_for(limits, alice) for _ in range(2)] == [0, 10]
    clock.now += 3600
    assert [refused_for(limits, alice) for _ in range(7)] == [0] * 6 + [10], "no more than a minute's is saved up"


def test_tokens_are_charged_behind_the_answer() -> None:
    clock = Clock()
    limits, alice = Limits(clock), key(tokens_per_minute=600)
    assert refused_for(limits, alice) == 0
    limits.charge(alice, 1000)
    assert refused_for(limits, alice) == pytest.approx(41, abs=1)
    limits.charge(alice, -900)  # less than had been reserved
    assert refused_for(limits, alice) == 0


def test_keys_do_not_share_what_they_may_and_changed_limits_count_at_once() -> None:
    limits = Limits(Clock())
    alice = key(requests_per_minute=1)
    bob = alice.model_copy(update={"name": "bob"})
    assert [refused_for(limits, asking) > 0 for asking in (alice, bob, alice, bob)] == [False, False, True, True]
    assert refused_for(limits, alice.model_copy(update={"requests_per_minute": 100})) == 0
    assert refused_for(limits, key()) == 0
