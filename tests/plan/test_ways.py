"""Plans by hand: a model whose times are round numbers."""

from __future__ import annotations

import dataclasses

import pytest

from pipelines.ingest.estimate import GB, Costs, Line, Prices
from pipelines.plan.ways import WAYS, Case, WayCosts, plan
from videox2l.config import CompressionConfig

# 10 frames of 4 tokens a chunk; an hour has 360 chunks, 14,400 raw tokens, 7,200 low and 900 high ones.
COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=16)
CASE = Case(COMPRESSION, tokens_per_frame=4, bytes_per_token=1000, context_length=10_000, read_bytes_per_s=1e6)
TIMES = Costs(0.01, 0.001, 1e-6, question=Line(0.5, 1e-4), answer=Line(0.25, 1e-4))
PRICES = Prices(per_gb_month=1.0, per_device_hour=3600.0)  # a dollar a second


def hour(case: Case = CASE, times: Costs = TIMES) -> dict[str, WayCosts]:
    return {row.way: row for row in plan([1.0], case, times, PRICES, "cpu")}


def test_asking_directly_sees_the_whole_video_each_time() -> None:
    found = hour()["direct"]
    dense_s = 3600 * 0.01 + 14_400 * 0.001 + 14_400**2 / 2 * 1e-6
    assert found.question_s == pytest.approx(dense_s + 0.25 + 1.44)
    assert (found.before_s, found.stored_bytes, found.read_bytes, found.pays_off_after) == (0, 0, 0, None)
    assert found.price == pytest.approx(found.question_s)


def test_all_kvs_are_made_once_and_read_by_each_question() -> None:
    found, direct = hour()["full"], hour()["direct"]
    assert found.stored_bytes == found.read_bytes == 14_400_000
    assert found.before_s == pytest.approx(direct.question_s - 1.69)
    assert found.question_s == pytest.approx(14.4 + 1.69)
    assert found.price == pytest.approx((found.before_s + 14.4e6 / GB) / 20 + found.question_s)


def test_the_gist_alone_is_one_pass() -> None:
    found = hour()["high"]
    rows, kept = 40 * (1 + 1 / 16), 40 / 16
    assert found.before_s == pytest.approx(36 + rows * (360 * 0.001 + 360 * 359 / 2 * kept * 1e-6))
    assert found.stored_bytes == found.read_bytes == 900_000
    assert found.question_s == pytest.approx(0.9 + 0.25 + 0.09)


def test_selected_reads_the_gist_and_two_chunks() -> None:
    found, gist = hour()["selected"], hour()["high"]
    rows, kept = 40 * 1.5, 20
    low_pass = rows * (360 * 0.001 + 360 * 359 / 2 * kept * 1e-6)
    assert found.before_s == pytest.approx(gist.before_s + low_pass)
    assert found.stored_bytes == 8_100_000
    assert found.read_bytes == 900_000 + 40_000
    assert found.memory_tokens == 358 * 2.5 + 40
    assert found.question_s == pytest.approx(0.94 + 0.5 + 0.0935)


def test_it_pays_off_from_the_first_question_that_makes_it_cheaper() -> None:
    rows = hour()
    for way in WAYS[1:]:
        row = rows[way]
        once, number = row.before_s + row.stored_bytes / GB, row.pays_off_after
        assert number is not None
        assert once + number * row.question_s <= number * rows["direct"].question_s
        assert once + (number - 1) * row.question_s > (number - 1) * rows["direct"].question_s


def test_what_is_never_cheaper_says_so() -> None:
    slow = dataclasses.replace(CASE, read_bytes_per_s=1000)
    assert hour(slow)["full"].pays_off_after is None


def test_on_a_busy_service_only_detail_is_read() -> None:
    busy = hour(dataclasses.replace(CASE, resident=True))
    assert {way: busy[way].read_bytes for way in WAYS} == {"direct": 0, "full": 0, "high": 0, "selected": 40_000}


def test_a_video_of_one_chunk_has_no_more_to_choose() -> None:
    [row] = [row for row in plan([1 / 3600], CASE, TIMES, PRICES, "cpu") if row.way == "selected"]
    assert row.memory_tokens == 20


def test_what_the_model_was_not_made_for_is_marked() -> None:
    assert {row.way: row.fits for row in hour().values()} == {
        "direct": False,
        "full": False,
        "high": True,
        "selected": True,
    }
