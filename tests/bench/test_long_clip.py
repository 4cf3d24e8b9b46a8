from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.bench.ingest.long_clip import repeat
from videox2l.config import SamplingConfig
from videox2l.video import plan_video
from videox2l.video.probe import index_frames
from videox2l.video.synthetic import SyntheticClip, render


@pytest.mark.parametrize("times", [1, 3])
def test_a_clip_again_and_again(tmp_path: Path, times: int) -> None:
    render(SyntheticClip.from_seed(1, 1), tmp_path / "once.mp4")
    repeat(tmp_path / "once.mp4", tmp_path / "often.mp4", times)

    once, often = index_frames(tmp_path / "once.mp4"), index_frames(tmp_path / "often.mp4")
    expected = np.concatenate([once.times_s + n * once.duration_s for n in range(times)])
    assert np.allclose(often.times_s, expected)
    assert often.duration_s == pytest.approx(times * once.duration_s)
    # It is planned, and so was read to its end, as any file.
    assert plan_video(tmp_path / "often.mp4", SamplingConfig(), 8).frames == 8 * times
