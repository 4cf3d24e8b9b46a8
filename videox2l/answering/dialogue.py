"""A conversation as tokens: each earlier turn, then the question."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from videox2l.answering.answer import Turn
from videox2l.config import GenerationConfig
from videox2l.errors import QuestionError, QuestionTooLongError
from videox2l.models import KVCompressibleModel


@dataclass(frozen=True)
class Dialogue:
    """Token ids behind a video's memory: those of earlier turns, and of the question up to where its answer begins."""

    history: tuple[int, ...]
    question: tuple[int, ...]
    text: str = ""
    """The question as it was asked."""

    @property
    def ids(self) -> list[int]:
        return [*self.history, *self.question]


def tokenize(model: KVCompressibleModel, question: str, history: Sequence[Turn] = ()) -> Dialogue:
    """Token ids of ``question`` behind ``history``.

    :raises QuestionError: it is empty, or one of the texts has what is no character.
    :raises QuestionTooLongError: the context is full.
    """
    if not question.strip():
        raise QuestionError("the question is empty: ask something about the video")
    for text in (question, *(text for turn in history for text in (turn.question, turn.answer))):
        check_text(text)
    ids: list[int] = []
    for number, turn in enumerate(history):
        ids += model.question_ids(turn.question, follow_up=number > 0)
        ids += model.answer_ids(turn.answer)
    dialogue = Dialogue(tuple(ids), tuple(model.question_ids(question, follow_up=bool(history))), question)
    if len(dialogue.ids) >= model.context_length:
        earlier = f" behind {len(ids)} of earlier turns" if history else ""
        shorten = "shorten it or begin a new conversation" if history else "shorten it"
        raise QuestionTooLongError(
            f"the question has {len(dialogue.question)} tokens{earlier}, the model's context is "
            f"{model.context_length}: {shorten}"
        )
    return dialogue


def check_text(text: str) -> None:
    """:raises QuestionError: it has what is no character, such as a byte that was not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QuestionError(
            f"{text[error.start]!a} in {text[:80]!r} is no character: write the question in UTF-8"
        ) from None


def fit_context(
    model: KVCompressibleModel, memory_tokens: int, dialogue: Dialogue, generation: GenerationConfig
) -> GenerationConfig:
    """Shorten the answer's limit to what :func:`room` there is, or raise as it does."""
    left = room(model, memory_tokens, dialogue)
    return dataclasses.replace(generation, max_new_tokens=min(generation.max_new_tokens, left))


def room(model: KVCompressibleModel, memory_tokens: int, dialogue: Dialogue, *, gist: bool = False) -> int:
    """How many tokens the context leaves for an answer behind a memory and ``dialogue``; at least 1.

    ``gist``: no memory of these chunks could be smaller.

    :raises QuestionTooLongError: it leaves none.
    """
    left = model.context_length - memory_tokens - len(dialogue.ids)
    if left >= 1:
        return left
    kvs, fewer = ("re-loaded KVs", ", re-load fewer chunks (--top-k, --select)") if not gist else ("the gist", "")
    raise QuestionTooLongError(
        f"question ({len(dialogue.ids)} tokens) and {kvs} ({memory_tokens}) exceed the model's context of "
        f"{model.context_length}: shorten the question{fewer} or ask about a shorter part of the video (--from, --to)"
    )
