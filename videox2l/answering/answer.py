"""An answer and what it rests on."""

from __future__ import annotations

import dataclasses
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


@dataclass(frozen=True)
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

    def __str__(self) -> str:
        return self.text
