from __future__ import annotations

import math

import numpy as np
import pytest

from videox2l.evaluation.benchmarks.statistics import clustered_mean


def test_singletons_give_the_textbook_standard_error():
    scores = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    found = clustered_mean(scores, list("abcdef"))
    assert found is not None
    assert found.mean == pytest.approx(4 / 6)
    assert found.standard_error == pytest.approx(np.std(scores, ddof=1) / math.sqrt(6))


def test_questions_of_a_video_count_as_little_as_they_are_alike():
    # The same score three times over a video says no more than once.
    videos = [1.0, 0.0, 1.0, 1.0]
    once = clustered_mean(videos, list("abcd"))
    thrice = clustered_mean(np.repeat(videos, 3).tolist(), list("aaabbbcccddd"))
    assert once is not None
    assert thrice is not None
    assert thrice.standard_error == pytest.approx(once.standard_error)
    assert (thrice.count, thrice.clusters) == (12, 4)


def test_too_few_videos_have_no_standard_error():
    found = clustered_mean([1.0, 0.0], ["a", "a"])
    assert found is not None
    assert found.standard_error is None
    assert clustered_mean([], []) is None


def test_a_mean_over_tasks_weighs_tasks_and_not_questions():
    scores, tasks = [1.0, 1.0, 1.0, 0.0], ["x", "x", "x", "y"]
    found = clustered_mean(scores, list("abcd"), tasks)
    assert found is not None
    assert found.mean == 0.5


def test_standard_errors_are_what_repeated_draws_scatter_by():
    """Videos of one to five questions that lean one way together, in two tasks: the error told is the error made."""
    rng = np.random.default_rng(0)
    means, errors = [], []
    for _ in range(400):
        scores, clusters, tasks = [], [], []
        for video in range(60):
            lean = rng.choice([0.2, 0.9])
            for _ in range(1 + video % 5):
                scores.append(float(rng.random() < lean))
                clusters.append(str(video))
                tasks.append("x" if video % 3 else "y")
        found = clustered_mean(scores, clusters, tasks)
        assert found is not None
        assert found.standard_error is not None
        means.append(found.mean)
        errors.append(found.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.15)
