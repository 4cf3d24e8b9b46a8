"""From a question and an archive to an answer with its evidence."""

from videox2l.answering.answer import Answer, Receipt, Span, TextDelta
from videox2l.answering.ask import ask, stream_answer
from videox2l.answering.resident import ResidentVideo

__all__ = ["Answer", "Receipt", "ResidentVideo", "Span", "TextDelta", "ask", "stream_answer"]
