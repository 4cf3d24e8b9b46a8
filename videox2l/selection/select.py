"""From what a user asks for (``--select``) to the chunks that are re-loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module

from videox2l.config import Budget, SelectionConfig
from videox2l.errors import ConfigError
from videox2l.scorers import CONTROLS, JOINED, REGISTERED, entries
from videox2l.selection.drift import without_drift
from videox2l.selection.fusion import fuse
from videox2l.selection.policy import choose, parse_policy
from videox2l.selection.question import relevance_heads, run_questions
from videox2l.selection.scorer import QuestionContext, Scorer

SCORERS: dict[str, Scorer] = {}
"""All of :data:`~videox2l.scorers.REGISTERED`."""

for _name, _entry in REGISTERED.items():
    _module, _, _function = _entry.home.partition(":")
    SCORERS[_name] = getattr(import_module(f"videox2l.selection.{_module}"), _function)


# Months of video; more would be a slip of the keyboard, or meant to keep everybody waiting.
_MOST_NAMED = 1_000_000

# Of chunks in an error message.
_SHOWN = 10


@dataclass(frozen=True)
class Selection:
    """Chunk indices to re-load, in time order, and every chunk's score where a scorer was asked.

    Chunks that were not to be chosen from have the score ``None``. ``beyond_budget``: chunks that were chosen and
    exceed the budget, and which limit it was.
    """

    chunks: tuple[int, ...]
    scores: tuple[float | None, ...] | None = None
    beyond_budget: Mapping[int, str] = field(default_factory=dict)


def check_selection(config: SelectionConfig) -> None:
    """Before anything is loaded for it.

    :raises ConfigError: no video could have this selection.
    """
    parse_policy(config.policy)
    if config.select not in CONTROLS and not needs_scores(config):
        parse_chunks(config.select)


def needs_scores(config: SelectionConfig) -> bool:
    """Whether this selection looks at the question at all."""
    return bool(entries(config.select))


def shares_queries(config: SelectionConfig) -> bool:
    """Whether :func:`select` goes faster where :func:`share_queries` was called before for many questions at once."""
    return any(entry.shares_queries for entry in entries(config.select))


def share_queries(contexts: Sequence[QuestionContext]) -> None:
    """Compute for all of ``contexts``, of one model, what their scorers begin with; equal but for rounding."""
    run_questions(contexts, relevance_heads(contexts[0].model).layers)


def select(
    config: SelectionConfig,
    chunks: int,
    context: QuestionContext | None,
    within: Sequence[int] | None = None,
    low_bytes: Sequence[int] | None = None,
) -> Selection:
    """Choose among the ``chunks`` chunks of a video, or only among those ``within``, which are in time order.

    ``context`` is needed where :func:`needs_scores` says so; its memory holds what is to be chosen from. ``low_bytes``:
    the size of each chunk's low KVs, for a budget of bytes. What is beyond the budget is left out: the lowest scores,
    without scores the latest chunks.

    Raises :class:`ConfigError` for a chunk that the video does not have or that is not to be chosen from.
    """
    candidates = range(chunks) if within is None else within
    if config.select in CONTROLS:
        taken = CONTROLS[config.select](candidates, min(config.top_k, len(candidates)))
        return _within_budget(config.budget, taken, None, low_bytes)
    if needs_scores(config):
        if context is None:
            raise ValueError(f"selection {config.select!r} needs the question")
        scores = _score(config, context)
        best = [candidates[index] for index in choose(config.policy, scores, config.top_k)]
        of_chunk = dict(zip(candidates, scores, strict=True))
        every = tuple(of_chunk.get(index) for index in range(chunks))
        return _within_budget(config.budget, best, every, low_bytes)
    return _within_budget(config.budget, _named(config.select, chunks, candidates), None, low_bytes)


def _score(config: SelectionConfig, context: QuestionContext) -> list[float]:
    found = [SCORERS[name](context) for name in config.select.split("+")]
    if config.correct_drift:
        found = [without_drift(scores) for scores in found]
    return found[0] if len(found) == 1 else fuse(found)


def _within_budget(
    budget: Budget, best: Sequence[int], scores: tuple[float | None, ...] | None, low_bytes: Sequence[int] | None
) -> Selection:
    """Of the chunks ``best``, best first, as many as the budget allows; a chunk too large may leave room for others."""
    taken: list[int] = []
    beyond: dict[int, str] = {}
    total = 0
    for index in best:
        size = low_bytes[index] if low_bytes is not None else 0
        if budget.max_low_chunks is not None and len(taken) >= budget.max_low_chunks:
            beyond[index] = f"beyond the question's budget: max_low_chunks is {budget.max_low_chunks}"
        elif budget.max_bytes is not None and total + size > budget.max_bytes:
            beyond[index] = f"beyond the question's budget: {size} more bytes exceed max_bytes, {budget.max_bytes}"
        else:
            taken.append(index)
            total += size
    return Selection(tuple(sorted(taken)), scores, beyond)


def _named(text: str, chunks: int, candidates: Sequence[int]) -> tuple[int, ...]:
    chosen = parse_chunks(text)
    absent = [index for index in chosen if index >= chunks]
    if absent:
        raise ConfigError(f"{_named_in_words(absent)} do not exist: the video has {chunks}, numbered from 0")
    allowed = frozenset(candidates)
    outside = [index for index in chosen if index not in allowed]
    if outside:
        raise ConfigError(
            f"{_named_in_words(outside)} lie outside the time range, which takes in chunks {candidates[0]} to "
            f"{candidates[-1]}: widen the range or leave them out"
        )
    return chosen


def _named_in_words(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return f"chunks {list(numbers[:_SHOWN])}{more}"


def parse_chunks(text: str) -> tuple[int, ...]:
    """``"3"``, ``"0,4-6"`` → sorted chunk indices. Raises :class:`ConfigError` for anything else."""
    chosen: set[int] = set()
    named = 0
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:\s*-\s*(\d{1,9}))?\s*", part)
        if match is None:
            known = ", ".join([*REGISTERED, *CONTROLS])
            raise ConfigError(
                f"select {text[:80]!r} is neither {known}, nor scorers joined as in {JOINED}, nor chunk numbers such "
                "as 0,4-6"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        named += last - first + 1
        if last < first or named > _MOST_NAMED:
            raise ConfigError(
                f"select {text[:80]!r}: the range {part.strip()} is empty, or these are more than {_MOST_NAMED} chunks"
            )
        chosen.update(range(first, last + 1))
    return tuple(sorted(chosen))
