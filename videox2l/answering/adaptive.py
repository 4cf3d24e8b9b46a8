"""As much detail as an answer needs: more chunks are re-loaded until it stays the same.

Answers with 1, 2, 4, … chunks in detail are compared, up to ``top_k``. What differs only in case, spaces or a full stop
is the same answer. Tokens are shown from when the answer is certain, or no more chunks may be read or fit the context.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator

from videox2l.answering.answer import Answer, TextDelta
from videox2l.config import SelectionConfig
from videox2l.errors import QuestionTooLongError
from videox2l.selection import needs_scores

ADAPTIVE = "adaptive"

AskOnce = Callable[[SelectionConfig], Iterator[TextDelta | Answer]]
"""One answer over one selection. What it costs is booked where that of earlier ones was."""


def stream_selected(ask_once: AskOnce, selection: SelectionConfig) -> Iterator[TextDelta | Answer]:
    """The answer by the policy of ``selection``; its receipt has what all attempts have cost."""
    if selection.policy != ADAPTIVE or not needs_scores(selection) or selection.top_k < 2:
        yield from ask_once(selection)
        return
    before: list[TextDelta | Answer] = []
    for k in counts(selection.top_k):
        attempt = iter(ask_once(dataclasses.replace(selection, top_k=k)))
        try:
            events = [next(attempt)]
        except QuestionTooLongError:  # the context holds no more detail than it did before
            if not before:
                raise
            yield from before
            return
        if k == selection.top_k:
            yield from events
            yield from attempt
            return
        events += attempt
        if before and _plain(events) == _plain(before):
            yield from events
            return
        before = events


def counts(most: int) -> Iterator[int]:
    """1, 2, 4, … and last ``most``."""
    yield from itertools.takewhile(lambda count: count < most, (2**n for n in itertools.count()))
    yield most


def _plain(events: list[TextDelta | Answer]) -> str:
    answer = events[-1]
    assert isinstance(answer, Answer)
    return " ".join(answer.text.casefold().split()).rstrip(".")
