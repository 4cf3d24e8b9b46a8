from __future__ import annotations

import numpy as np
import pytest

from videox2l.selection.drift import without_drift


@pytest.mark.parametrize("slope", [0.02, -0.02])
@pytest.mark.parametrize("relevant", [0, 3, 25, 39])
def test_a_chunk_that_stands_out_is_found_wherever_it_is(slope: float, relevant: int) -> None:
    """Drift alone would carry the wrong end of the video to the top: it is five times what the chunk stands out by."""
    rng = np.random.default_rng(relevant)
    scores = slope * np.arange(40) + rng.normal(0, 0.01, 40)
    scores[relevant] += 0.15
    corrected = without_drift(scores.tolist())
    assert int(np.argmax(corrected)) == relevant
    assert np.mean(corrected) == pytest.approx(np.mean(scores))


def test_scores_without_a_trend_stay() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 1, 400)
    corrected = np.array(without_drift(scores.tolist()))
    assert np.abs(corrected - scores).max() < 0.5
    assert list(np.argsort(corrected)[-3:]) == list(np.argsort(scores)[-3:])


@pytest.mark.parametrize("scores", [[], [1.0], [1.0, 2.0, 3.0]])
def test_too_few_to_have_a_trend(scores: list[float]) -> None:
    assert without_drift(scores) == scores
