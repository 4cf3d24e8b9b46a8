"""An answer and what it rests on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

FinishReason = Literal["stop", "length"]
"""``stop``: the model ended its turn. ``length``: the token limit or the context did."""


@dataclass(frozen=True)
class TextDelta:
    """The next piece of a streamed answer."""

    text: str


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

    Times as of :class:`Span`.
    """

    chunks: int
    start_s: float
    end_s: float
    recorded_at: RecordedAt | None = None


@dataclass(frozen=True)
class Receipt:
    """What an answer cost.

    ``bytes_used``: size in the archive of the KVs the answer rests on, by level: those in its memory and those its
    scores came from. ``bytes_read``: what of them was fetched for this question (0 where it was resident already).
    ``milliseconds``: by stage; ``first_token`` is from the question's arrival to its first token.
    """

    bytes_read: dict[str, int]
    bytes_used: dict[str, int]
    milliseconds: dict[str, float]
    memory_tokens: int
    question_tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class Answer:
    """A complete answer with its evidence.

    ``spans`` were re-loaded; ``degraded`` should have been. ``chunks``: how many the video has. ``covered``: the part
    of it that the question was limited to. ``scores``: where a scorer chose, one value a chunk of the video, ``None``
    for chunks outside that part.
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

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return self.text
