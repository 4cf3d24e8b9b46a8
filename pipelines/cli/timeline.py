"""A video as a bar in the terminal: relevance by height, what was read in detail by colour and by a mark below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.text import Text

from pipelines.cli import output

if TYPE_CHECKING:
    from videox2l.answering import Answer
    from videox2l.answering.timeline import Column

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-=oO#@"
_OUTSIDE = "·"

# A short video is drawn wide enough to be looked at.
_CELLS_A_CHUNK = 4

_STYLES = {"detail": "bold green", "degraded": "bold yellow", "gist": "blue", "outside": "dim"}
_MARKS = {"detail": "^", "degraded": "!", "gist": " ", "outside": " "}


def timeline(answer: Answer, console: Console) -> Group:
    """The bar, the marks below it, and the times at its ends. Meant for a width of up to 120 cells."""
    from videox2l.answering.timeline import columns

    width = min(console.width, 120)
    shown = columns(answer, width)
    cells = max(1, min(_CELLS_A_CHUNK, width // max(1, len(shown))))
    blocks = _BLOCKS if console.encoding.lower().startswith("utf") else _ASCII
    bar, marks = Text(no_wrap=True), Text(no_wrap=True)
    for column in shown:
        bar.append(_block(column, blocks) * cells, _STYLES[column.seen])
        marks.append(_MARKS[column.seen] * cells, _STYLES[column.seen])
    return Group(bar, marks)


def legend(answer: Answer) -> str:
    """What the marks mean, as far as they occur."""
    said = []
    if answer.spans:
        said.append("^ read in detail")
    if answer.degraded:
        said.append("! chosen, only its gist could be had")
    if answer.scores is not None:
        said.append("height: relevance to the question")
    return " · ".join(said)


def spans_table(answer: Answer, console: Console, others: int = 5) -> None:
    """Each chunk that was chosen, and the best of the rest."""
    table = output.table("chunk>", "from>", "to>", "score>", "")
    rows = [(span.chunk, span.start_s, span.end_s, "read in detail", "green") for span in answer.spans]
    rows += [(span.chunk, span.start_s, span.end_s, span.reason, "yellow") for span in answer.degraded]
    scores = answer.scores or (None,) * answer.chunks
    for chunk, start_s, end_s, said, style in sorted(rows):
        row = (str(chunk), output.clock(start_s), output.clock(end_s), _score(scores[chunk]), output.plain(said))
        table.add_row(*row, style=style)
    chosen = {row[0] for row in rows}
    rest = [(score, chunk) for chunk, score in enumerate(scores) if score is not None and chunk not in chosen]
    best = sorted(rest, key=lambda pair: (-pair[0], pair[1]))[:others]
    for score, chunk in best:
        table.add_row(str(chunk), "", "", _score(score), "gist", style="dim")
    console.print(table)
    if len(rest) > len(best):
        console.print(f"and {output.many(len(rest) - len(best), 'more chunk')} with lower scores", style="dim")


def _block(column: Column, blocks: str) -> str:
    if column.seen == "outside":
        return _OUTSIDE if blocks == _BLOCKS else " "
    relevance = column.relevance
    if relevance is None:
        relevance = 1.0 if column.seen == "detail" else 0.0
    return blocks[min(len(blocks) - 1, int(relevance * len(blocks)))]


def _score(score: float | None) -> str:
    return "–" if score is None else f"{score:.3g}"
