"""How the demo prints answers and the closing table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from pipelines.demo.client import Reply
from pipelines.demo.clips import is_right
from videox2l.video.synthetic import Question, normalise


def print_answer(console: Console, video: str, question: Question, events: Iterator[str | Reply]) -> None:
    """Print an answer as it streams, then whether it is right, what it rests on and what it cost."""
    console.print(f"\n[bold]{question.text}[/]  [dim]({video})[/]")
    console.print("  → ", end="")
    for event in events:
        if isinstance(event, str):
            console.print(event, end="", markup=False)
            continue
        verdict = "[green]right[/]" if is_right(event.text, question) else f"[red]wrong[/], it is {question.answer}"
        console.print(f"   {verdict}")
        for line in evidence_lines(event):
            console.print(f"    {line}", style="dim")


def evidence_lines(reply: Reply) -> Iterator[str]:
    """The chunks read in detail, and the receipt."""
    spans = reply.evidence["spans"]
    shown = "; ".join(f"{span['start_s']:.0f}–{span['end_s']:.0f} s, score {span['score']:.3g}" for span in spans)
    yield f"in detail: {shown or 'nothing'}  (of {reply.evidence['chunks']} chunks)"
    read = " · ".join(f"{level} {size / 1024:.1f} KiB" for level, size in reply.evidence["bytes_read"].items())
    stages = " · ".join(f"{stage} {value:.0f}" for stage, value in reply.evidence["milliseconds"].items())
    yield f"read: {read}"
    yield f"milliseconds: {stages}"


@dataclass
class Score:
    """Accuracy and cost of one way to select, over many questions."""

    title: str
    asked: int = 0
    right: int = 0
    digits: int = 0
    digits_right: int = 0
    bytes: int = 0
    found: list[bool] = field(default_factory=list)

    def add(self, question: Question, reply: Reply) -> None:
        """Grade one answer. ``bytes`` counts all KVs an answer rests on, as if none were resident yet."""
        self.asked += 1
        self.right += is_right(reply.text, question)
        expected, given = normalise(question.answer).split(), normalise(reply.text).split()
        self.digits += len(expected)
        self.digits_right += sum(a == b for a, b in zip(expected, given, strict=False))
        self.bytes += sum(reply.evidence["bytes_used"].values())
        self.found.append(any(span["chunk"] == question.chunk for span in reply.evidence["spans"]))


def print_scores(console: Console, scores: list[Score]) -> None:
    """Accuracy on detail questions against bytes read, one row a selection."""
    table = Table(box=None, header_style="bold", padding=(0, 2))
    for heading in ("re-loaded at low compression", "codes right", "digits right", "KiB a question"):
        table.add_column(heading, justify="left" if heading.startswith("re-") else "right")
    for score in scores:
        table.add_row(
            score.title,
            f"{score.right / score.asked:.0%}",
            f"{score.digits_right / score.digits:.0%}",
            f"{score.bytes / score.asked / 1024:.1f}",
        )
    console.print(table)
    selected = next(score for score in scores if score.title.endswith("selected chunks"))
    hits = sum(selected.found) / selected.asked
    console.print(
        f"{selected.asked} questions for a code; the right chunk was among the selected in {hits:.0%}", style="dim"
    )
