"""From scores to chunks: how many, and which where several say the same.

* ``top_k``: the best ``k``.
* ``threshold:X``: of these, those with at least the share ``X`` of the best score's height above the mean.
* ``mass:X``: of these, as few as hold the share ``X`` of all scores' height above the lowest.
* ``adaptive``: the best ``k``, where ``k`` grows until the answer stays the same: ``answering/adaptive.py``.
* ``coverage:X``: ``k`` spread over the video: a chunk beside one that was taken loses the share ``X`` of its height.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from videox2l.errors import ConfigError

Policy = Callable[[Sequence[float], int, float], list[int]]

# How far around a chunk its neighbours are taken to show the same, in chunks: the discount falls by e over so many.
_NEIGHBOURHOOD = 1.0


def _best(scores: Sequence[float], k: int, _: float = 0.0) -> list[int]:
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:k]


def _threshold(scores: Sequence[float], k: int, share: float) -> list[int]:
    mean = float(np.mean(scores))
    best = _best(scores, k)
    return [index for index in best if scores[index] - mean >= share * (scores[best[0]] - mean)]


def _mass(scores: Sequence[float], k: int, share: float) -> list[int]:
    heights_C = np.asarray(scores, dtype=np.float64) - min(scores)
    best = _best(scores, k)
    held = list(itertools.accumulate(heights_C[index] for index in best))
    wanted = share * heights_C.sum() * (1 - 1e-9)  # sums of the same numbers in another order may differ by rounding
    enough = next((count for count, mass in enumerate(held, 1) if mass >= wanted), len(best))
    return best[:enough]


def _coverage(scores: Sequence[float], k: int, share: float) -> list[int]:
    heights_C = np.asarray(scores, dtype=np.float64) - min(scores)
    places_C = np.arange(len(heights_C))
    left_C = heights_C.copy()
    taken: list[int] = []
    while len(taken) < min(k, len(scores)):
        best = int(np.argmax(left_C))
        taken.append(best)
        left_C = np.minimum(left_C, heights_C * (1 - share * np.exp(-np.abs(places_C - best) / _NEIGHBOURHOOD)))
        left_C[taken] = -np.inf
    return taken


# Name: the policy, and what its number is unless given.
POLICIES: dict[str, tuple[Policy, float]] = {
    "top_k": (_best, 0.0),
    "adaptive": (_best, 0.0),
    "threshold": (_threshold, 0.5),
    "mass": (_mass, 0.5),
    "coverage": (_coverage, 1.0),
}


def choose(policy: str, scores: Sequence[float], k: int) -> list[int]:
    """Indices of the chosen scores, best first and ``k`` at most; equal scores in time order.

    :raises ConfigError: as :func:`parse_policy`.
    """
    run, number = parse_policy(policy)
    return run(scores, k, number) if k > 0 and scores else []


def parse_policy(policy: str) -> tuple[Policy, float]:
    """What ``policy`` names, such as ``mass:0.8``, and its number.

    :raises ConfigError: there is no such policy, or its number is not between 0 and 1.
    """
    name, _, text = policy.partition(":")
    if name not in POLICIES:
        raise ConfigError(f"policy {policy!r} is none of {', '.join(POLICIES)}")
    run, number = POLICIES[name]
    try:
        number = float(text) if text else number
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ConfigError(f"policy {policy!r}: what stands behind the colon must be a number from 0 to 1")
    return run, number
