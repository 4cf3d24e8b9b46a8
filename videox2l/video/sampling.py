"""Which frames of a video are looked at: arithmetic on presentation times, without a file in sight.

A target time is answered by the frame that is on screen then: the last one whose presentation time is not later.
Targets are spread over the video from its first frame on, so each sampled frame opens the span that it stands for.
"""

from __future__ import annotations

import numpy as np

from videox2l.config import SamplingConfig
from videox2l.video.probe import FrameIndex

TOLERANCE_S = 1e-3
"""A frame may be this much later than the target it answers. Matroska and FLV round times to milliseconds, so that a
frame due at 66.7 ms is stored at 67; a millisecond is still only a quarter of a frame at 240 frames/s."""

# Lets a rounding error that is itself exactly one millisecond pass despite binary fractions.
_EPSILON_S = 1e-9


def target_times(duration_s: float, sampling: SamplingConfig) -> np.ndarray:
    """Times at which a video of ``duration_s`` seconds is looked at, float64 [n] seconds after its first frame.

    With ``sampling.fps``: ``i / fps`` for i = 0, 1, … while that is before the end. With ``sampling.frames``, or when
    ``sampling.max_frames`` is exceeded: that many, ``i × duration / n``. The first is always 0.
    """
    if sampling.frames is not None:
        return _evenly(sampling.frames, duration_s)
    # A last target within the tolerance of the end is no frame's time any more.
    count = max(1, int(np.ceil((duration_s - TOLERANCE_S) * sampling.fps)))
    if sampling.max_frames is not None and count > sampling.max_frames:
        return _evenly(sampling.max_frames, duration_s)
    return np.arange(count) / sampling.fps


def displayed_frames(times_s: np.ndarray, targets_s: np.ndarray) -> np.ndarray:
    """Which frames are on screen at ``targets_s``: strictly increasing positions in ``times_s``, int64 [≤ n].

    ``times_s`` is increasing and starts with 0. A frame that answers several targets, because the targets are denser
    than the frames, is taken once: looking twice at one picture would only cost tokens.
    """
    positions = np.searchsorted(times_s, targets_s + (TOLERANCE_S + _EPSILON_S), side="right") - 1
    return np.unique(positions)


def sample_frames(index: FrameIndex, sampling: SamplingConfig) -> np.ndarray:
    """Positions in ``index`` of the frames to look at, strictly increasing, int64 [n ≥ 1]; the first is 0."""
    return displayed_frames(index.times_s, target_times(index.duration_s, sampling))


def _evenly(count: int, duration_s: float) -> np.ndarray:
    return np.arange(count) * (duration_s / count)
