"""An answer and what it rests on."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any, Literal

FinishReason = Literal["stop", "length"]
"""``stop``: the model ended its turn, or a stop text came. ``length``: the token limit or the context did."""


@dataclass(frozen=True)
class Turn:
    """An earlier question of a conversation, and the answer that was given."""

    question: str
    answer: str


@dataclass(frozen=True)
class TokenLogprob:
    """A token and its log probability: log softmax of the model's raw logits, whatever temperature and top_p are.

    ``token``: its text, with a replacement character where it holds part of one only; ``bytes`` are exact. ``top``: the
    likeliest tokens at its place, best first.
    """

    token: str
    logprob: float
    bytes: tuple[int, ...]
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class TextDelta:
    """The next piece of a streamed answer, and the tokens it came with where their ``logprobs`` were asked for."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class RecordedAt:
    """A time span by the clock: ISO 8601 with milliseconds, in the recording's own offset from UTC."""

    start: str
    end: str


@dataclass(frozen=True)
class Span:
    """A chunk that was re-loaded at low compression: its time span in the video (seconds) and its relevance score.

    ``recorded_at``: the same by the clock, where the recording's start is known.
    """

    chunk: int
    start_s: float
    end_s: float
    score: float | None = None
    recorded_at: RecordedAt | None = None


@dataclass(frozen=True)
class DegradedSpan:
    """A chunk that was chosen, but is at high compression in the memory, since its low KVs cannot be had: ``reason``.

    Times as of :class:`Span`.
    """

    chunk: int
    start_s: float
    end_s: float
    reason: str
    recorded_at: RecordedAt | None = None


@dataclass(frozen=True)
class Covered:
    """The part of the video in an answer's memory: whole chunks, so it may exceed the time range asked about.

    ``first_chunk``: the number of the first of these ``chunks``. Times as of :class:`Span`.
    """

    chunks: int
    start_s: float
    end_s: float
    recorded_at: RecordedAt | None = None
    first_chunk: int = 0


@dataclass(frozen=True)
class Receipt:
    """What an answer cost.

    ``bytes_used``: size in the archive of the KVs the answer rests on, by level: those in its memory and those its
    scores came from. ``bytes_from``: the same by level and where they were: in ``memory``, in the cache on a local
    ``disk``, in the archive's ``storage``. ``bytes_read``: what was fetched from storage for this question.
    ``cache``: whether the high KVs were resident (``video``), mixed KVs were used again (``memory``), and KVs of
    earlier turns were (``conversation``). ``milliseconds``: by stage; ``first_token`` is from the question's arrival to
    its first token. ``question_tokens`` include those of earlier turns.
    """

    bytes_read: dict[str, int]
    bytes_from: dict[str, dict[str, int]]
    bytes_used: dict[str, int]
    cache: dict[str, bool]
    milliseconds: dict[str, float]
    memory_tokens: int
    question_tokens: int
    answer_tokens: int


@dataclass(frozen=True, repr=False)
class Answer:
    """A complete answer with its evidence.

    ``spans`` were re-loaded; ``degraded`` should have been. ``chunks``: how many the video has. ``covered``: the part
    of it that the question was limited to. ``scores``: where a scorer chose, one value a chunk of the video, ``None``
    for chunks outside that part. ``logprobs``: one a token of the text, where they were asked for.
    """

    text: str
    finish_reason: FinishReason
    video_id: str
    video_name: str
    question: str
    spans: tuple[Span, ...]
    degraded: tuple[DegradedSpan, ...]
    chunks: int
    covered: Covered
    scores: tuple[float | None, ...] | None
    receipt: Receipt
    logprobs: tuple[TokenLogprob, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return dataclasses.asdict(self)

    def to_json(self, indent: int | None = 1) -> str:
        """As a JSON document, ``None`` for one line. What JSON has no number for, as the log of 0, is null."""
        return to_json(self.to_dict(), indent)

    def __str__(self) -> str:
        """The text, and in one more line what it rests on."""
        from videox2l.answering.words import summary

        return f"{self.text}\n{summary(self)}"

    def __repr__(self) -> str:
        return f"<Answer {self.text!r} about {self.video_name!r}, {len(self.spans)} of {self.chunks} chunks in detail>"

    def _repr_html_(self) -> str:
        from videox2l.answering.html import answer_html

        return answer_html(self)


def to_json(document: dict[str, Any], indent: int | None = 1) -> str:
    """One JSON document; infinities, which JSON does not have, become null."""
    return json.dumps(finite(document), indent=indent, ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> Any:
    """``value`` with ``None`` in place of all numbers in it that JSON does not have."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
