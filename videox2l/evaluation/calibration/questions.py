"""What is asked of the videos."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from videox2l.errors import ConfigError


@dataclass(frozen=True)
class Question:
    """``answer``: where it is known. ``video``: the file name of the only video that it is about; empty for all."""

    text: str
    answer: str | None = None
    video: str = ""


GENERIC = tuple(
    Question(text)
    for text in (
        "What happens in the video?",
        "What is shown at the beginning of the video?",
        "What is shown at the end of the video?",
        "Who or what is seen most often?",
        "Where does the video take place?",
        "What text can be read in the video?",
        "What changes in the course of the video?",
        "What is the most unusual moment of the video?",
    )
)
"""Questions that suit any video. Half of them need detail of certain moments. Their answers are not known."""


def read_questions(file: Path) -> list[Question]:
    """One question a line: plain text, or a JSON object with ``question`` and perhaps ``answer`` and ``video``.

    :raises ConfigError: the file cannot be read, is empty, or a line of it is no question.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the questions in {file} cannot be read: {error}") from error
    found = [_question(line.strip(), f"{file}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ConfigError(f"{file} holds no question: write one a line")
    return found


def _question(line: str, where: str) -> Question:
    if not line.startswith("{"):
        return Question(line)
    try:
        document = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where} is no JSON object: {error}") from error
    unknown = document.keys() - {"question", "answer", "video"}
    if unknown or not all(isinstance(value, str) for value in document.values()) or not document.get("question"):
        raise ConfigError(f"{where}: write texts named question, answer (if known) and video (of one video only)")
    return Question(document["question"], document.get("answer"), document.get("video", ""))


def is_right(said: str, answer: str) -> bool:
    """Whether an answer is the known one: the same words, or, where that is a letter, it begins with the letter."""
    words, known = _words(said), _words(answer)
    if len(known) == 1 and len(known[0]) == 1:
        return words[:1] == known
    return words == known


def _words(text: str) -> list[str]:
    return "".join(letter if letter.isalnum() else " " for letter in text.casefold()).split()
