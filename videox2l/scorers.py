"""What a question's ``select`` may name: relevance scorers, and choices that do without. All other lists follow these.

They stand outside of :mod:`videox2l.selection` because that takes torch, for which help texts and checks need not wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ScorerEntry:
    """Where a scorer is, as ``module:function`` in :mod:`videox2l.selection`, and what has to be known to offer it.

    ``shares_queries``: it looks with the question's own queries, which many questions can have computed together.
    ``compares_keys``: before rotation, so that models which keep keys in place only have none for it.
    ``without_heads``: it looks at none of the model's heads, so that it is right where each rank has only some.
    ``needs_vectors``: of the video's chunks, which a retriever makes at the ingest.
    ``control``: it knows nothing of the question, and is there to be beaten.
    """

    home: str
    shares_queries: bool = False
    compares_keys: bool = False
    without_heads: bool = False
    needs_vectors: bool = False
    control: bool = False


# Add a scorer: one file in selection/, one entry here. Tests say where else it has to be named.
REGISTERED: dict[str, ScorerEntry] = {
    "attention": ScorerEntry("attention:score_by_attention", shares_queries=True),
    "keys": ScorerEntry("keys:score_by_keys", shares_queries=True, compares_keys=True),
    "key_bounds": ScorerEntry("keys:score_by_key_bounds", shares_queries=True, compares_keys=True),
    "two_step": ScorerEntry("two_step:score_in_two_steps"),
    "retriever": ScorerEntry("retriever:score_by_retriever", without_heads=True, needs_vectors=True),
    "random": ScorerEntry("random:score_randomly", without_heads=True, control=True),
}

# Choices that do not look at the question: every scorer has to beat them at the same number of chunks.
CONTROLS: dict[str, Callable[[Sequence[int], int], Sequence[int]]] = {
    "all": lambda candidates, _: candidates,
    "none": lambda *_: (),
    "uniform": lambda candidates, k: [candidates[int((n + 0.5) * len(candidates) / k)] for n in range(k)],
    "recent": lambda candidates, k: candidates[max(0, len(candidates) - k) :],
}

JOINED = "attention+keys"
"""Stands for all scorers that are joined, where some are tried."""

FROM_GIST = tuple(name for name, entry in REGISTERED.items() if not (entry.needs_vectors or entry.control))
"""Those that need nothing but the question and the gist."""

EVALUATED = (*FROM_GIST, JOINED)
"""What the suites compare unless others are asked for."""

CALIBRATED = ("attention", "keys", JOINED)
"""What a calibration tries unless others are asked for: few, as each has its own answers at every ratio and codec."""


def entries(select: str) -> list[ScorerEntry]:
    """Of the scorers that ``select`` names, joined by plus signs; none if it is no such text."""
    names = select.split("+")
    return [REGISTERED[name] for name in names] if all(name in REGISTERED for name in names) else []


def select_words(mark: str = "") -> str:
    """What ``select`` may be, in words; what can be written stands between ``mark``s."""
    scorers, controls = (", ".join(f"{mark}{name}{mark}" for name in names) for names in (REGISTERED, CONTROLS))
    joined, numbers = (f"{mark}{example}{mark}" for example in (JOINED, "0,4-6"))
    return f"a scorer ({scorers}), several as in {joined}, {controls}, or chunk numbers such as {numbers}"
