"""How choices fare on the video that they were not made from, by hand-made measurements."""

from __future__ import annotations

import pytest

from videox2l.config import CompressionConfig
from videox2l.evaluation.calibration import Measurement, Setting, Wanted, calibrate
from videox2l.evaluation.suites.metrics import wilson
from videox2l.models.protocol import ModelIdentity
from videox2l.store.calibration import Calibration

# How many of ten questions about each of three videos agree.
CHEAP = (10, 10, 7)
DEAR = (10, 9, 9)


def measured(k: int, agreeing: tuple[int, ...], *, read: int, known: str = "") -> list[Measurement]:
    """Answers are known of the video ``known``, and right where they agree."""
    setting = Setting(CompressionConfig(2, 16, 8), "raw", "attention", k)
    return [
        Measurement(video, f"q{n}", setting, n < agree, 0.1, 1.0, read, n < agree if video == known else None)
        for video, agree in zip("abc", agreeing, strict=False)
        for n in range(10)
    ]


def found(measurements: list[Measurement], wanted: Wanted) -> Calibration:
    return calibrate(measurements, wanted, identity=ModelIdentity("ab12", {}), model="some", reference="full")


def test_what_is_recommended_flatters_itself() -> None:
    calibration = found(measured(1, CHEAP, read=100) + measured(2, DEAR, read=200), Wanted(0.9))
    assert calibration.recommended is not None
    assert (calibration.recommended.top_k, calibration.recommended.agreement) == (1, 0.9)
    # Without a or b, 17 of 20 are too few and the dear one is chosen; without c the cheap one is.
    assert calibration.held_out is not None
    assert calibration.held_out.agreement == (10 + 9 + 7) / 30
    assert calibration.held_out.interval == wilson(26, 30)
    assert calibration.held_out.without_setting == 0
    assert calibration.words.endswith("; held out, 86.7% (70%–95%) agree")


def test_no_choice_is_no_agreement() -> None:
    held_out = found(measured(1, CHEAP, read=100), Wanted(0.9)).held_out
    assert held_out is not None
    assert (held_out.agreement, held_out.without_setting) == (7 / 30, 20)


def test_choices_reach_a_wanted_accuracy_too() -> None:
    """Only of one video are answers known: without it no setting is known to be right."""
    calibration = found(measured(1, (10, 10, 10), read=100, known="a"), Wanted(0.9, 0.9))
    assert calibration.recommended is not None
    assert calibration.held_out is not None
    assert (calibration.held_out.agreement, calibration.held_out.without_setting) == (20 / 30, 10)


@pytest.mark.parametrize("agreeing", [(10,), (5,)])
def test_a_single_video_says_nothing_of_others(agreeing: tuple[int, ...]) -> None:
    assert found(measured(1, agreeing, read=100), Wanted(0.9)).held_out is None


def test_the_order_of_videos_is_all_the_same() -> None:
    some = measured(1, CHEAP, read=100) + measured(2, DEAR, read=200)
    forth, back = found(some, Wanted(0.9)).held_out, found(some[::-1], Wanted(0.9)).held_out
    assert forth == back
