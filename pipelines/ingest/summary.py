"""The outcome of a run, as data and as a table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pipelines.ingest.rows import IngestRow, Status

if TYPE_CHECKING:
    from pipelines.ingest.estimate import Estimate

_COLOURS: dict[Status, str] = {
    "committed": "green",
    "planned": "cyan",
    "skipped": "yellow",
    "quarantined": "magenta",
    "failed": "red",
}


@dataclass(frozen=True)
class IngestSummary:
    """All rows of a run in the order of the sources; ``ledger`` is where they are kept (empty for a dry run).

    ``estimate``: what the planned videos would cost, of a dry run in which there are any.
    Print it on a rich console to see it as a table.
    """

    run_id: str
    archive_url: str
    rows: tuple[IngestRow, ...]
    wall_s: float
    ledger: str = ""
    estimate: Estimate | None = None

    def count(self, status: Status) -> int:
        return Counter(row.status for row in self.rows)[status]

    @property
    def ok(self) -> bool:
        """No video failed."""
        return self.count("failed") == 0

    def __rich__(self) -> RenderableType:
        """For the terminal: a line for each video, the sums, and below why videos failed or were skipped."""
        notes = [Text(f"{row.name or row.source}: {note}") for row in self.rows if (note := row.error or row.warning)]
        return Group(self._table(), *notes, *([self.estimate] if self.estimate is not None else []))

    def _table(self) -> Table:
        title = f"{escape(self.archive_url)} · run {self.run_id}"
        table = Table(title=title, title_justify="left", show_footer=True, box=SIMPLE)
        counts = ", ".join(f"{count} {status}" for status in _COLOURS if (count := self.count(status)))
        table.add_column("video", footer=counts, overflow="fold")
        table.add_column("status", footer=f"in {clock(self.wall_s)}", no_wrap=True)
        for name, total in (
            ("length", clock(sum(row.duration_s for row in self.rows))),
            ("frames", str(sum(row.frames for row in self.rows))),
            ("chunks", str(sum(row.chunks for row in self.rows))),
            ("low", size(sum(row.low_bytes for row in self.rows))),
            ("high", size(sum(row.high_bytes for row in self.rows))),
        ):
            table.add_column(name, footer=total, justify="right", no_wrap=True)
        for row in self.rows:
            numbers = (
                clock(row.duration_s),
                str(row.frames),
                f"{row.chunks} ({row.chunks - row.kept} new)" if row.kept else str(row.chunks),
                size(row.low_bytes),
                size(row.high_bytes),
            )
            status = f"[{_COLOURS[row.status]}]{row.status}[/]"
            table.add_row(escape(row.name or row.source), status, *(numbers if row.chunks else ()))
        return table


def clock(seconds: float) -> str:
    """``h:mm:ss``, or ``m:ss`` below an hour."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def size(count: float) -> str:
    """``count`` bytes in binary units."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
