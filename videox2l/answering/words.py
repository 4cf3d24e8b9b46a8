"""An answer's evidence in words."""

from __future__ import annotations

from videox2l.answering.answer import Answer, DegradedSpan, RecordedAt, Span

# Reasons shown where chunks could not be re-loaded; further ones are mostly the same, and the answer has all.
_REASONS = 3

# Spans named in one line.
_SPANS = 3


def summary(answer: Answer) -> str:
    """One short line: what was read in detail, and what that took."""
    named = [_times(span.start_s, span.end_s) for span in answer.spans[:_SPANS]]
    more = [f"{len(answer.spans) - _SPANS} more"] if len(answer.spans) > _SPANS else []
    detail = ", ".join(named + more) or "nothing"
    lost = f"; {len(answer.degraded)} more chosen, but only their gist could be had" if answer.degraded else ""
    read = sum(answer.receipt.bytes_read.values())
    return (
        f"in detail: {detail} ({len(answer.spans)} of {answer.chunks} chunks){lost} · "
        f"{read / 1024:.1f} KiB read · {answer.receipt.milliseconds['total']:.0f} ms"
    )


def warning_lines(answer: Answer) -> list[str]:
    """What the answer should have rested on and does not; empty where all is well."""
    lost = answer.degraded
    if not lost:
        return []
    shown = "; ".join(place(span) for span in lost)
    reasons = list(dict.fromkeys(span.reason for span in lost))
    return [
        f"warning: {len(lost)} of {len(lost) + len(answer.spans)} chosen chunks could not be read in detail, so the "
        f"answer has only their gist: {shown}",
        *(f"  {reason}" for reason in reasons[:_REASONS]),
        *([f"  and {len(reasons) - _REASONS} more; --json has all reasons"] if len(reasons) > _REASONS else []),
    ]


def evidence_lines(answer: Answer) -> list[str]:
    """What an answer rests on and what it cost."""
    receipt, covered = answer.receipt, answer.covered
    shown = "; ".join(place(span) for span in answer.spans) or "nothing"
    part = f"{_times(covered.start_s, covered.end_s, covered.recorded_at)} ({covered.chunks} of {answer.chunks} chunks)"
    read = ", ".join(f"{level} {size / 1024:.1f} KiB" for level, size in receipt.bytes_read.items())
    first = receipt.milliseconds.get("first_token")
    times = f"first token {first:.0f} ms, " if first is not None else ""
    return [
        *([f"asked about: {part}"] if covered.chunks < answer.chunks else []),
        f"in detail: {shown} of {covered.chunks} chunks",
        f"read: {read} · {times}total {receipt.milliseconds['total']:.0f} ms · {receipt.memory_tokens} memory tokens",
    ]


def place(span: Span | DegradedSpan) -> str:
    """``10.0–20.0 s (chunk 1, score 0.5)``."""
    score = span.score if isinstance(span, Span) else None
    rated = f", score {score:.3g}" if score is not None else ""
    return f"{_times(span.start_s, span.end_s, span.recorded_at)} (chunk {span.chunk}{rated})"


def _times(start_s: float, end_s: float, recorded_at: RecordedAt | None = None) -> str:
    clock = f", by the clock {recorded_at.start} to {recorded_at.end}" if recorded_at is not None else ""
    return f"{start_s:.1f}–{end_s:.1f} s{clock}"
