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
class Span:
    """A chunk that was re-loaded at low compression: its time span in the video (seconds) and its relevance score."""

    chunk: int
    start_s: float
    end_s: float
    score: float | None = None


@dataclass(frozen=True)
class Receipt:
    """What an answer cost.

    ``bytes_read``: fetched from the archive for this question, by level (0 where it was resident already).
    ``bytes_used``: size in the archive of the KVs the answer rests on, by level.
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
    """A complete answer with its evidence. ``scores`` has one value a chunk where a scorer chose them."""

    text: str
    finish_reason: FinishReason
    video_id: str
    video_name: str
    question: str
    spans: tuple[Span, ...]
    chunks: int
    scores: tuple[float, ...] | None
    receipt: Receipt

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        return self.text
