"""Accuracies with standard errors that know that questions about one video stand and fall together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard error, ``None`` where fewer than two clusters leave it unknown."""

    mean: float
    standard_error: float | None
    count: int
    clusters: int


def clustered_mean(
    scores: Sequence[float], clusters: Sequence[str], strata: Sequence[str] | None = None
) -> Estimate | None:
    """The mean of ``scores``, or the mean over the means of ``strata``; ``None`` of no scores.

    The standard error is the sandwich estimator for clusters of any size, with the factor G / (G - 1) for few clusters
    G. Scores of a cluster may depend on each other, also across strata; those of different clusters may not. How many
    scores each stratum has is taken as given.
    """
    if not scores:
        return None
    scores_N = np.asarray(scores, dtype=np.float64)
    _, stratum_N = np.unique(np.asarray(strata if strata is not None else [""] * len(scores)), return_inverse=True)
    sizes_S = np.bincount(stratum_N)
    means_S = np.bincount(stratum_N, weights=scores_N) / sizes_S
    weights_N = 1 / (len(sizes_S) * sizes_S[stratum_N])
    names, cluster_N = np.unique(np.asarray(clusters), return_inverse=True)
    error = None
    if len(names) > 1:
        influence_G = np.bincount(cluster_N, weights=weights_N * (scores_N - means_S[stratum_N]))
        error = math.sqrt(float((influence_G**2).sum()) * len(names) / (len(names) - 1))
    return Estimate(float(means_S.mean()), error, len(scores), len(names))
