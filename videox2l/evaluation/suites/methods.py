"""Ways to remember a clip within a number of memory tokens: bi-level re-loading and what it has to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from videox2l.config import SelectionConfig
from videox2l.evaluation.suites.clips import PrefilledClip, tokens_of
from videox2l.evaluation.suites.pruning import PRUNINGS, attention_of, prune
from videox2l.kv import MixedKV

LOW_ONLY, HIGH_ONLY = "low only", "high only"
RIGHT_CHUNK = "bi-level, right chunk"
DEFAULT = f"bi-level, {SelectionConfig().select}"
QUESTION_AWARE = "SnapKV-like with the question"

CONTROLS = ("random", "uniform", "recent")
"""Choices of chunks that know nothing of the question."""


@dataclass(frozen=True)
class Remembered:
    """A memory, how many of the video's tokens were read for it, and the question's position (``None``: behind it)."""

    memory: MixedKV
    tokens_read: int
    position: int | None = None


Method = Callable[[PrefilledClip, int], Remembered]
"""A memory of the clip in about so many tokens, without the prompt."""


def budget(clip: PrefilledClip, k: int) -> int:
    """Tokens that bi-level re-loading of ``k`` chunks reads: everything high, and these low."""
    return tokens_of(clip.high) + k * max(kv.tokens for kv in clip.low)


def uniform(clip: PrefilledClip, tokens: int) -> Remembered:
    """The whole clip at one ratio: the strongest that still has as many tokens as allowed, or more.

    So it never has fewer than the method it is compared with.
    """
    whole = min((kvs for kvs in clip.whole.values() if tokens_of(kvs) >= tokens), key=tokens_of, default=clip.low)
    return Remembered(clip.memory(whole), tokens_of(whole))


def pruning(name: str) -> Method:
    """The low KVs without those that a score finds less worth."""

    def pruned(clip: PrefilledClip, tokens: int) -> Remembered:
        low = clip.memory(clip.low)
        return Remembered(prune(low, PRUNINGS[name](clip.model, low), tokens), tokens, low.tokens)

    return pruned


def pruned_for(clip: PrefilledClip, tokens: int, question: str) -> Remembered:
    """SnapKV with the question itself as its window: it has to read all low KVs to know which to keep."""
    low = clip.memory(clip.low)
    kept = prune(low, attention_of(clip.model, low, question), tokens)
    return Remembered(kept, tokens_of(clip.low), low.tokens)


def unasked() -> Iterator[tuple[str, Method]]:
    """Methods whose memory is the same for every question."""
    yield LOW_ONLY, lambda clip, _: Remembered(clip.memory(clip.low), tokens_of(clip.low))
    yield HIGH_ONLY, lambda clip, _: Remembered(clip.memory(clip.high), tokens_of(clip.high))
    yield "uniform compression", uniform
    for name in PRUNINGS:
        yield name, pruning(name)


EQUAL_BYTES = ("uniform compression", *PRUNINGS, *(f"bi-level, {name}" for name in CONTROLS))
"""What the default has to beat at equal bytes."""
