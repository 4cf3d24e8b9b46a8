"""How a report on prefill, or its plan, is printed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from pipelines.bench.prefill import PARTS, LengthPlan, Report

_GIB = 2**30


def plan_table(plans: Sequence[LengthPlan]) -> Table:
    """What would be run."""
    table = _table("To be measured", ("chunks", "frames", "raw tokens", "low", "high", "TFLOP", "needs GiB"))
    for plan in plans:
        counts = (plan.chunks, plan.frames, plan.raw_tokens, plan.low_tokens, plan.high_tokens)
        sizes = (f"{plan.flops / 1e12:.3g}", f"{plan.need_bytes / _GIB:.2f}")
        table.add_row(*(f"{count:,}" for count in counts), *sizes)
    return table


def report_table(report: Report) -> Table:
    """Speed, where the time went (in seconds), and memory, one row a length."""
    title = (
        f"{report.model}: {report.parameters / 1e9:.3g} billion weights in {report.dtype} on {report.device}\n"
        f"attention {report.attention}, {report.videos} video(s) at once, "
        f"matrix peak {report.matrix_peak / 1e12:.3g} TFLOP/s"
    )
    headings = ("chunks", "seconds", "tokens/s", "frames/s", "of peak", *PARTS, "copies", "GiB", "planned")
    single = report.compression.prefill == "single-pass"
    table = _table(title, (*headings, *(("of exact",) if single else ())))
    for figure in report.figures:
        speed = (f"{figure.seconds:.2f}", f"{figure.tokens_s:,.0f}", f"{figure.frames_s:,.0f}", f"{figure.of_peak:.0%}")
        times = (f"{figure.part_s[part]:.2f}" for part in PARTS)
        peak = "" if figure.peak_bytes is None else f"{figure.peak_bytes / _GIB:.2f}"
        exact = () if figure.exact_s is None else (f"{figure.seconds / figure.exact_s:.2f}",)
        planned = f"{figure.plan.need_bytes / _GIB:.2f}"
        table.add_row(f"{figure.plan.chunks:,}", *speed, *times, f"{figure.copy_s:.2f}", peak, planned, *exact)
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right")
    return table
