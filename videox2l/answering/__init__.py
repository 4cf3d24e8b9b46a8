"""From a question and an archive to an answer with its evidence."""

from videox2l.answering.answer import (
    Answer,
    Covered,
    DegradedSpan,
    Receipt,
    RecordedAt,
    Span,
    TextDelta,
    TokenLogprob,
    Turn,
)
from videox2l.answering.ask import ask, stream_answer
from videox2l.answering.engine import AnswerEngine, EngineConfig
from videox2l.answering.resident import ResidentVideo
from videox2l.answering.time_range import TimeRange, TimeRangeError

__all__ = [
    "Answer",
    "AnswerEngine",
    "Covered",
    "DegradedSpan",
    "EngineConfig",
    "Receipt",
    "RecordedAt",
    "ResidentVideo",
    "Span",
    "TextDelta",
    "TimeRange",
    "TimeRangeError",
    "TokenLogprob",
    "Turn",
    "ask",
    "stream_answer",
]
