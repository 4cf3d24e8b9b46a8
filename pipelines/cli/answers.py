"""How answers are printed: their text as it comes, then what they rest on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console

from pipelines.cli.timeline import legend, timeline

if TYPE_CHECKING:
    from videox2l.answering import Answer
    from videox2l.library import Explanation


def print_pieces(pieces: Iterable[str], console: Console) -> None:
    """Text as it comes, and the end of its line."""
    for piece in pieces:
        console.print(piece, end="", markup=False, soft_wrap=True)
    console.print()


def print_evidence(answer: Answer, notes: Console) -> None:
    """What an answer lacks, and what it rests on; in a terminal with the timeline."""
    from videox2l.answering.words import evidence_lines, warning_lines

    for line in warning_lines(answer):
        notes.print(line, style="yellow", markup=False, soft_wrap=True)
    if notes.is_terminal and answer.chunks:
        notes.print(timeline(answer, notes))
        notes.print(legend(answer), style="dim", markup=False)
    for line in evidence_lines(answer):
        notes.print(line, style="dim", markup=False, soft_wrap=True)


def print_explanation(explanation: Explanation, console: Console, notes: Console) -> None:
    """The answer, and what becomes of it without each chunk that was read in detail."""
    print_pieces([explanation.answer.text], console)
    print_evidence(explanation.answer, notes)
    for line in explanation.lines():
        console.print(line, markup=False, soft_wrap=True)
