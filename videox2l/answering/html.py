"""Answers as HTML for notebooks: escaped text and inline SVG. No scripts, and nothing from elsewhere."""

from __future__ import annotations

from html import escape

from videox2l.answering.answer import Answer, DegradedSpan, Span
from videox2l.answering.timeline import Column, Seen, columns
from videox2l.answering.words import evidence_lines, warning_lines

# In px. Wide enough for a notebook's cell; columns narrower than 3 px could not be told apart.
_WIDTH, _HEIGHT, _MOST = 720, 44, 240

# A column without relevance still shows that there is a chunk.
_LOWEST = 0.12

# Readable on white and on black, and told apart by those who see no red or green: by lightness, and by what it says.
_COLOURS: dict[Seen, str] = {"detail": "#2a9d5c", "degraded": "#d9822b", "gist": "#8a94a6", "outside": "#8a94a6"}
_SAID: dict[Seen, str] = {
    "detail": "read in detail",
    "degraded": "chosen, but only its gist could be had",
    "gist": "gist",
    "outside": "not asked about",
}

_SMALL = 'style="font-size: 85%; opacity: 0.75"'


def answer_html(answer: Answer) -> str:
    """Question, answer, timeline and evidence."""
    warnings = "".join(
        f'<div style="color: {_COLOURS["degraded"]}">{escape(line)}</div>' for line in warning_lines(answer)
    )
    evidence = "".join(f"<div {_SMALL}>{escape(line)}</div>" for line in evidence_lines(answer))
    return (
        f'<div style="max-width: {_WIDTH}px">'
        f"<div {_SMALL}>{escape(answer.video_name)}: {escape(answer.question)}</div>"
        f'<div style="margin: 0.4em 0; white-space: pre-wrap">{escape(answer.text)}</div>'
        f"{timeline_svg(answer)}{warnings}{evidence}</div>"
    )


def timeline_svg(answer: Answer) -> str:
    """The video from left to right; a column's height is its relevance, its colour what was read of it."""
    shown = columns(answer, _MOST)
    wide = _WIDTH / max(1, len(shown))
    bars = "".join(_bar(answer, column, place * wide, wide) for place, column in enumerate(shown))
    detail = ", ".join(str(span.chunk) for span in answer.spans) or "none"
    label = escape(f"timeline of {answer.chunks} chunks, read in detail: {detail}", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}" '
        f'style="display: block; width: 100%; max-width: {_WIDTH}px">{bars}</svg>'
    )


def _bar(answer: Answer, column: Column, left: float, wide: float) -> str:
    share = column.relevance
    if share is None:
        share = 1.0 if column.seen == "detail" else 0.0
    high = _HEIGHT * max(_LOWEST, share)
    gap = min(1.0, wide / 4)
    opacity = ' fill-opacity="0.3"' if column.seen == "outside" else ""
    return (
        f'<rect x="{left + gap / 2:.2f}" y="{_HEIGHT - high:.2f}" width="{wide - gap:.2f}" height="{high:.2f}" '
        f'fill="{_COLOURS[column.seen]}"{opacity}><title>{escape(_says(answer, column))}</title></rect>'
    )


def _says(answer: Answer, column: Column) -> str:
    if column.first != column.last:
        return f"chunks {column.first} to {column.last}: {_SAID[column.seen]}"
    spans: list[Span | DegradedSpan] = [*answer.spans, *answer.degraded]
    times = next((f", {span.start_s:.1f}–{span.end_s:.1f} s" for span in spans if span.chunk == column.first), "")
    score = answer.scores[column.first] if answer.scores else None
    rated = f", score {score:.3g}" if score is not None else ""
    return f"chunk {column.first}{times}{rated}: {_SAID[column.seen]}"
