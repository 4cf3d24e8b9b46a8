"""What the documentation shows, cut out of its Markdown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "README.md",
    ROOT / "cluster" / "README.md",
    ROOT / "videox2l" / "models" / "tiny" / "checkpoint" / "README.md",
]

_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")

# Where one command of a shell ends and another begins, as shlex cuts them off.
_BETWEEN = frozenset(["|", ";", "&&", "||", "&", ">", ">>", "<", "2>", "("])

# NAME=value in front of a command.
_VARIABLE = re.compile(r"[A-Z_0-9]+=")


@dataclass(frozen=True)
class Shown:
    """A piece of code on a page: where, in what language (empty: none is named), and its text."""

    place: str
    language: str
    text: str


def blocks(page: Path) -> list[Shown]:
    """Fenced blocks of ``page``."""
    text = page.read_text(encoding="utf-8")
    return [
        Shown(f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}", match[2], match[3])
        for match in _BLOCK.finditer(text)
    ]


def spans(page: Path) -> list[Shown]:
    """Code within the lines of ``page``."""
    text = _BLOCK.sub(lambda match: "\n" * match[0].count("\n"), page.read_text(encoding="utf-8"))
    return [
        Shown(f"{page.relative_to(ROOT)}:{number}", "", span)
        for number, line in enumerate(text.splitlines(), 1)
        for span in _SPAN.findall(line)
    ]


def commands(text: str, program: str = "videox2l") -> Iterator[list[str]]:
    """Arguments of every call of ``program`` in shell lines, also of those that are quoted in others."""
    for line in text.replace("\\\n", " ").splitlines():
        if program in line:
            yield from _in_line(line.strip().removeprefix("$ "), program)


def _in_line(line: str, program: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # an apostrophe: what a command printed, not a command
        return
    for call in _calls(words):
        while call and _VARIABLE.match(call[0]):
            call = call[1:]
        if call and call[0].rpartition("/")[2] == program:
            yield call[1:]
        for word in call[1:]:
            if " " in word and f"{program} " in word and not word.startswith(("-", "{")):
                yield from _in_line(word.removeprefix("$(").removesuffix(")"), program)


def _calls(words: list[str]) -> Iterator[list[str]]:
    call: list[str] = []
    for word in words:
        if word in _BETWEEN:
            yield call
            call = []
        else:
            call.append(word)
    yield call
