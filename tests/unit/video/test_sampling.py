from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from videox2l.config import SamplingConfig
from videox2l.video.probe import FrameIndex
from videox2l.video.sampling import TOLERANCE_S, displayed_frames, sample_frames, target_times


def index_of(pts: list[int], last_duration: int = 40, time_base: Fraction = Fraction(1, 1000)) -> FrameIndex:
    return FrameIndex(np.array(pts), np.array(pts[:1]), pts[-1] + last_duration, time_base)


def test_one_frame_a_second() -> None:
    index = index_of(list(range(500, 10_500, 40)))
    assert sample_frames(index, SamplingConfig(fps=1)).tolist() == list(range(0, 250, 25))


def test_the_frame_on_screen_is_taken_not_the_nearest() -> None:
    # At 1 s the frame shown since 0.2 s is still on screen; the one at 1.1 s is nearer but not yet shown.
    index = index_of([0, 200, 1100, 1900])
    assert sample_frames(index, SamplingConfig(fps=1)).tolist() == [0, 1]


@pytest.mark.parametrize("fps", [23.976, 24, 25, 29.97, 30, 50, 59.94, 60, 120])
def test_times_rounded_to_milliseconds_do_not_shift_frames(fps: float) -> None:
    rounded = [round(1000 * i / fps) for i in range(500)]
    index = index_of(rounded, last_duration=round(1000 / fps))
    assert sample_frames(index, SamplingConfig(fps=fps)).tolist() == list(range(500))


@pytest.mark.parametrize(
    ("duration_s", "fps", "count"), [(10, 1, 10), (10.04, 1, 11), (10.0005, 1, 10), (0.04, 1, 1), (2, 0.1, 1)]
)
def test_number_of_targets(duration_s: float, fps: float, count: int) -> None:
    assert len(target_times(duration_s, SamplingConfig(fps=fps))) == count


def test_a_fixed_number_of_frames_is_spread_evenly() -> None:
    index = index_of(list(range(0, 10_000, 10)), last_duration=10)
    assert sample_frames(index, SamplingConfig(frames=4)).tolist() == [0, 250, 500, 750]


def test_max_frames_only_limits() -> None:
    assert len(target_times(100, SamplingConfig(max_frames=200))) == 100
    assert target_times(100, SamplingConfig(max_frames=4)).tolist() == [0, 25, 50, 75]


def test_more_targets_than_frames_takes_every_frame_once() -> None:
    index = index_of([0, 100, 200])
    assert sample_frames(index, SamplingConfig(fps=240)).tolist() == [0, 1, 2]
    assert sample_frames(index, SamplingConfig(frames=50)).tolist() == [0, 1, 2]


steps = st.lists(st.integers(2, 5000), min_size=1, max_size=200)
samplings = st.one_of(
    st.builds(SamplingConfig, fps=st.floats(0.01, 240), max_frames=st.none() | st.integers(1, 50)),
    st.builds(SamplingConfig, frames=st.integers(1, 50)),
)


@given(steps=steps, start=st.integers(-(10**9), 10**9), sampling=samplings)
def test_any_frame_times(steps: list[int], start: int, sampling: SamplingConfig) -> None:
    pts = (start + np.cumsum([0, *steps[:-1]])).tolist()
    index = index_of(pts, last_duration=steps[-1])
    times_s = index.times_s
    targets_s = target_times(index.duration_s, sampling)
    chosen = sample_frames(index, sampling)

    assert chosen[0] == 0
    assert np.all(np.diff(chosen) > 0)
    limit = sampling.frames or sampling.max_frames
    assert limit is None or len(chosen) <= limit
    # Brute force: each target's frame is the last one shown by then.
    slack = TOLERANCE_S + 1e-9
    expected = sorted({max(i for i, time in enumerate(times_s) if time <= target + slack) for target in targets_s[:40]})
    assert displayed_frames(times_s, targets_s[:40]).tolist() == expected
