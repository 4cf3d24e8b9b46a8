"""Which frames of a chunk stand for it."""

from __future__ import annotations

import numpy as np

PIECES = 4
"""Vectors a chunk at most: more would find what is seen for a moment more often, and cost as much storage."""


def pieces(frames_FHWC: np.ndarray) -> np.ndarray:
    """Up to :data:`PIECES` frames, spread evenly."""
    count = min(PIECES, len(frames_FHWC))
    return frames_FHWC[[int((number + 0.5) * len(frames_FHWC) / count) for number in range(count)]]
