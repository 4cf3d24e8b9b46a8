"""A plan for people: a table, and plots of prices and of seconds against a video's length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.table import Table

from pipelines.ingest.summary import size
from pipelines.plan.ways import WAYS, Case, Way, WayCosts
from pipelines.svg import Curve, log_curves

NAMES: Mapping[Way, str] = {
    "direct": "ask the model directly",
    "full": "all KVs stored",
    "high": "gist only",
    "selected": "Video-X²L",
}


def tables(rows: Sequence[WayCosts], case: Case) -> Table:
    """One line a way and length."""
    made = Table(box=None, header_style="bold", padding=(0, 1), title_justify="left", title=_title(case))
    for heading in (
        "video",
        "",
        "once before",
        "stored",
        "a question reads",
        "and takes",
        "costs",
        "pays off from question",
    ):
        made.add_column(heading, justify="left" if heading in ("video", "") else "right")
    for row in rows:
        made.add_row(
            f"{row.hours:g} h" if row.way == WAYS[0] else "",
            NAMES[row.way] + ("" if row.fits else " *"),
            seconds(row.before_s) if row.before_s else "",
            size(row.stored_bytes) if row.stored_bytes else "",
            size(row.read_bytes) if row.read_bytes else "",
            seconds(row.question_s),
            dollars(row.price),
            _after(row),
            end_section=row.way == WAYS[-1],
        )
    if not all(row.fits for row in rows):
        made.caption = f"* more tokens than the {case.context_length} that the model was made for"
        made.caption_justify = "left"
    return made


def write_plots(rows: Sequence[WayCosts], folder: Path) -> list[Path]:
    """``plan-price.svg`` and ``plan-seconds.svg`` in ``folder``."""
    plots = {
        "plan-price.svg": _plot(rows, "Dollars a question, with its share of prefill and storage", _price, dollars),
        "plan-seconds.svg": _plot(rows, "Seconds a question", lambda row: row.question_s, seconds),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in plots.items():
        (folder / name).write_text(plot)
    return [folder / name for name in plots]


def seconds(count: float) -> str:
    """Three digits, in a unit that people read."""
    if count >= 3600:
        return f"{count / 3600:.3g} h"
    return f"{count / 60:.3g} min" if count >= 120 else f"{count:.3g} s"


def dollars(amount: float) -> str:
    """Cents, and of smaller amounts the first digits."""
    return f"{amount:.2f} $" if amount >= 0.1 or amount == 0 else f"{amount:.2g} $"


def _title(case: Case) -> str:
    many = f"{case.questions} question{'s' if case.questions > 1 else ''} on each video"
    where = "KVs of the gist in memory" if case.resident else f"KVs read at {case.read_bytes_per_s / 1e6:g} MB/s"
    kept = f"kept for {case.months:g} month{'' if case.months == 1 else 's'}"
    return f"{many}, {kept}; {where}; {case.top_k} chunks in detail"


def _price(row: WayCosts) -> float:
    return row.price


def _after(row: WayCosts) -> str:
    if row.way == "direct":
        return ""
    return "never" if row.pays_off_after is None else str(row.pays_off_after)


def _plot(
    rows: Sequence[WayCosts], title: str, value: Callable[[WayCosts], float], write: Callable[[float], str]
) -> str:
    curves = [Curve(NAMES[way], [(row.hours, value(row)) for row in rows if row.way == way]) for way in WAYS]
    return log_curves(curves, title, "hours of video", lambda hours: f"{hours:g}", write)
