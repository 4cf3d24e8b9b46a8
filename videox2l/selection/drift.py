"""Scores without their drift: similarity to a question tends to grow towards a video's end (arXiv 2602.18434).

The trend over time is taken out, a straight line by Theil and Sen: the median of the slopes of all pairs. Single
relevant chunks, which stand out, do not turn it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Fewer points have no trend that could be told from chance.
_FEWEST = 4


def without_drift(scores: Sequence[float]) -> list[float]:
    """``scores`` in time order, less the line that most of them follow; their mean stays."""
    if len(scores) < _FEWEST:
        return list(scores)
    scores_C = np.asarray(scores, dtype=np.float64)
    times_C = np.arange(len(scores_C))
    first, second = np.triu_indices(len(scores_C), 1)
    slope = np.median((scores_C[second] - scores_C[first]) / (second - first))
    return (scores_C - slope * (times_C - times_C.mean())).tolist()
