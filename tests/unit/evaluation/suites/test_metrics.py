"""Intervals and claims from records made by hand."""

import pytest

from videox2l.evaluation.suites.methods import DEFAULT, EQUAL_BYTES, HIGH_ONLY, LOW_ONLY
from videox2l.evaluation.suites.metrics import accuracy_rows, claim_rows, hit_rows, wilson
from videox2l.evaluation.suites.run import Record


def records(method: str, right: int, read: int, *, hits: int | None = None) -> list[Record]:
    """A hundred questions about ten clips, of which so many are right, spread over the clips."""
    return [
        Record(
            16, n % 10, "retrieval", "phrasing 1", 0.5, method, n < right, read, 256,
            None if hits is None else n < hits, None if hits is None else True,
        )
        for n in range(100)
    ]  # fmt: skip


def some(default: int = 97) -> list[Record]:
    found = records(LOW_ONLY, 100, 256) + records(HIGH_ONLY, 20, 16) + records(DEFAULT, default, 48, hits=90)
    return found + [record for name in EQUAL_BYTES for record in records(name, 40, 48)]


def test_wilson_against_known_values() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def test_claim() -> None:
    (row,) = claim_rows(some())
    assert row["recovery"] == pytest.approx((0.97 - 0.2) / 0.8)
    assert row["recovery_interval"][0] < row["recovery"] < row["recovery_interval"][1]
    assert row["read"] == pytest.approx(48 / 256)
    assert row["read_goal"] == 0.2
    assert [other["method"] for other in row["baselines"]] == list(EQUAL_BYTES)
    assert all(other["ahead"] == pytest.approx(0.57) for other in row["baselines"])
    assert all(other["ahead_interval"][0] > 0.4 for other in row["baselines"])


def test_no_difference_is_no_lead() -> None:
    (row,) = claim_rows(some(default=40))
    assert all(low <= 0 <= high for low, high in (other["ahead_interval"] for other in row["baselines"]))


def test_shares_and_hits() -> None:
    rows = {row["method"]: row for row in accuracy_rows(some(), "scenes", "suite")}
    assert rows[LOW_ONLY]["accuracy"] == 1
    assert rows[LOW_ONLY]["interval"] == pytest.approx(wilson(100, 100))
    assert rows[HIGH_ONLY]["questions"] == 100
    (hits,) = hit_rows(some())
    assert (hits["scorer"], hits["hit_1"], hits["hit_2"]) == ("attention", 0.9, 1.0)
