from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.video.clips import ClipCase
from videox2l.config import SamplingConfig
from videox2l.errors import ConfigError
from videox2l.video import VideoPlan, index_frames, plan_video


def test_index_has_every_frames_time(case: ClipCase, clip: Path) -> None:
    assert index_frames(clip).times_s.tolist() == pytest.approx(case.indexed_times_s, abs=1.5e-3)


@pytest.mark.parametrize("frames_per_chunk", [1, 3, 10, 1000])
def test_spans_cover_the_video_without_gap(case: ClipCase, clip: Path, frames_per_chunk: int) -> None:
    plan = plan_video(clip, SamplingConfig(fps=4), frames_per_chunk)
    assert plan.chunks[0].start_s == 0
    assert plan.chunks[-1].end_s == plan.info.duration_s == pytest.approx(case.duration_s, abs=2e-3)
    for before, after in zip(plan.chunks, plan.chunks[1:], strict=False):
        assert before.end_s == after.start_s
        assert len(before.pts) == frames_per_chunk
    for number, chunk in enumerate(plan.chunks):
        assert chunk.index == number
        assert chunk.start_s == chunk.times_s[0] <= chunk.times_s[-1] < chunk.end_s
        assert len(chunk.times_s) == len(chunk.pts) == len(chunk.key_pts) <= frames_per_chunk
        assert all(key <= stamp for key, stamp in zip(chunk.key_pts, chunk.pts, strict=True))


def test_json_round_trip(clip_path: Callable[[str], Path]) -> None:
    plan = plan_video(clip_path("h264_vfr"), SamplingConfig(fps=3), 4)
    assert VideoPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_frames_per_chunk_below_one(clip_path: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match="frames_per_chunk"):
        plan_video(clip_path("vp9"), SamplingConfig(), 0)
