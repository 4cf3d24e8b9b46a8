"""Ways to remember a clip within a number of memory tokens: bi-level re-loading and what it has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from videox2l.config import SelectionConfig
from videox2l.evaluation.suites.clips import PrefilledClip, tokens_of
from videox2l.evaluation.suites.pruning import PRUNINGS, Score, attention_of, press, prune
from videox2l.kv import MixedKV
from videox2l.scorers import REGISTERED

LOW_ONLY, HIGH_ONLY = "low only", "high only"
RIGHT_CHUNK = "bi-level, right chunk"
DEFAULT = f"bi-level, {SelectionConfig().select}"
QUESTION_AWARE = "SnapKV-like with the question"

CONTROLS = (*(name for name, entry in REGISTERED.items() if entry.control), "uniform", "recent")
"""Choices of chunks that know nothing of the question."""


@dataclass(frozen=True)
class Remembered:
    """A memory, how many of the video's tokens were read for it, and the question's position (``None``: behind it)."""

    memory: MixedKV
    tokens_read: int
    position: int | None = None


Method = Callable[[PrefilledClip], Remembered]
"""A memory of the clip, of about as many tokens as its budget unless its name says otherwise."""


def pruning(score: Score) -> Method:
    """The low KVs without those that a score finds less worth."""

    def pruned(clip: PrefilledClip) -> Remembered:
        low = clip.memory(clip.low)
        kept = prune(low, score(clip.model, low), clip.budget)
        return Remembered(kept, min(clip.budget, tokens_of(clip.low)), low.tokens)

    return pruned


def pruned_for(clip: PrefilledClip, question: str) -> Remembered:
    """SnapKV with the question itself as its window: it has to read all low KVs to know which to keep."""
    low = clip.memory(clip.low)
    kept = prune(low, attention_of(clip.model, low, question), clip.budget)
    return Remembered(kept, tokens_of(clip.low), low.tokens)


def unasked(presses: Sequence[str] = ()) -> Iterator[tuple[str, Method]]:
    """Methods whose memory is the same for every question, those of ``kvpress`` that are named among them."""
    yield LOW_ONLY, lambda clip: Remembered(clip.memory(clip.low), tokens_of(clip.low))
    yield HIGH_ONLY, lambda clip: Remembered(clip.memory(clip.high), tokens_of(clip.high))
    yield "uniform compression", lambda clip: Remembered(clip.memory(clip.even), tokens_of(clip.even))
    for name, score in PRUNINGS.items():
        yield name, pruning(score)
    for name in presses:
        yield PRESS + name, pruning(press(name))


EQUAL_BYTES = ("uniform compression", *PRUNINGS, *(f"bi-level, {name}" for name in CONTROLS))
"""What the default has to beat at equal bytes, as every press."""

PRESS = "kvpress "
"""Begins the names of methods that prune by a press."""
