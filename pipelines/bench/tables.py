"""How a report on codecs is printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from pipelines.bench.codecs import CodecReport

_SPEED_HEADINGS = ("codec", "level", "dtype", "encoded", "bytes", "smaller", "encode MB/s", "decode MB/s")
_TEXT = ("codec", "level", "levels", "dtype", "encoded")


def tables(report: CodecReport) -> Iterator[Table]:
    """Bytes and speed; then what becomes of the answers."""
    sizes = _table("Bytes and speed (MB of raw KVs a second of one CPU thread)", _SPEED_HEADINGS)
    for row in report.sizes:
        speed = (f"{row.encode_mb_s:.0f}", f"{row.decode_mb_s:.0f}")
        sizes.add_row(row.codec, row.level, row.dtype, f"by {row.stretch}", str(row.bytes), f"{row.ratio:.2f}x", *speed)
    yield sizes
    kinds = list(report.fidelity[0].accuracy)
    headings = ("codec", "levels", "encoded", "logits max", "mean", "same answer", "same chunks", *kinds)
    answers = _table(f"Answers to {report.questions} questions about {report.clips} clips", headings)
    for found in report.fidelity:
        change = (f"{found.logits_max:.4f}", f"{found.logits_mean:.5f}")
        shares = (found.agreement, found.chunks_agreement, *(found.accuracy[kind] for kind in kinds))
        shown = (f"{share:.1%}" for share in shares)
        answers.add_row(found.codec, found.levels, f"by {found.stretch}", *change, *shown)
    yield answers


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1))
    for heading in headings:
        table.add_column(heading, justify="left" if heading in _TEXT else "right")
    return table
