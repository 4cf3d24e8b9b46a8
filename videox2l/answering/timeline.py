"""A video at a glance: its chunks in a row, how relevant each was to a question, and what was read in detail."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

from videox2l.answering.answer import Answer

Seen = Literal["detail", "degraded", "gist", "outside"]
"""Read in detail; chosen, but only the gist could be had; the gist, as it should be; not asked about. Best news last:
where chunks share a column, the first of these that is true of any of them counts."""

_ORDER: tuple[Seen, ...] = ("degraded", "detail", "gist", "outside")


@dataclass(frozen=True)
class Column:
    """Chunks ``first`` up to and with ``last``.

    ``relevance``: the best of their scores as a share of the video's best, 0 to 1; ``None`` where nothing was scored.
    """

    first: int
    last: int
    seen: Seen
    relevance: float | None


def columns(answer: Answer, most: int) -> list[Column]:
    """At most ``most`` columns for all chunks of the video, in time order; neighbours share one where need be."""
    count = min(most, answer.chunks)
    edges = [place * answer.chunks // count for place in range(count + 1)] if count else []
    detail, degraded = {span.chunk for span in answer.spans}, {span.chunk for span in answer.degraded}
    covered = range(answer.covered.first_chunk, answer.covered.first_chunk + answer.covered.chunks)
    best = max((score for score in answer.scores or () if score is not None), default=0.0)

    def seen(chunk: int) -> Seen:
        if chunk in degraded:
            return "degraded"
        if chunk in detail:
            return "detail"
        return "gist" if chunk in covered else "outside"

    def relevance(chunks: range) -> float | None:
        scores = [score for chunk in chunks if answer.scores and (score := answer.scores[chunk]) is not None]
        if not scores:
            return None
        return max(0.0, max(scores)) / best if best > 0 else 0.0

    found = []
    for first, end in itertools.pairwise(edges):
        chunks = range(first, end)
        found.append(Column(first, end - 1, min(map(seen, chunks), key=_ORDER.index), relevance(chunks)))
    return found
