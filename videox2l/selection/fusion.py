"""Several scorers as one, by reciprocal rank fusion (Cormack et al., SIGIR 2009): ranks can be added, scores cannot."""

from __future__ import annotations

from collections.abc import Sequence

# The paper's constant: large enough that one scorer's first place does not outvote what several find good.
_OFFSET = 60


def fuse(scores: Sequence[Sequence[float]]) -> list[float]:
    """One score a chunk from several scorers' scores; equal scores share the better rank."""
    fused = [0.0] * len(scores[0])
    for one in scores:
        ranked = sorted(one, reverse=True)
        rank_of = {score: rank for rank, score in reversed(list(enumerate(ranked, start=1)))}
        for chunk, score in enumerate(one):
            fused[chunk] += 1 / (_OFFSET + rank_of[score])
    return fused
