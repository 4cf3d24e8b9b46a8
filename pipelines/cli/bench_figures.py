"""What becomes of the figures of a ``videox2l bench`` command: printed, saved, held against those of an earlier run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pipelines.cli import options, output, status
from videox2l.errors import ConfigError

if TYPE_CHECKING:
    from pipelines.bench.rows import Report


@dataclass(frozen=True)
class Figures:
    """Options of every such command."""

    save: Annotated[Path | None, typer.Option(help="Write all figures into this JSON file too.", dir_okay=False)] = None
    compare: Annotated[
        Path | None,
        typer.Option(help="Figures of an earlier run: exit with 1 where a ratio has become worse.", dir_okay=False),
    ] = None
    tolerance: Annotated[float, typer.Option(help="By what share a ratio may be above the earlier one.", min=0)] = 0.25
    as_json: options.Json = False

    def before(self) -> Report | None:
        """The earlier run. To be asked for before anything is measured, which takes minutes.

        :raises ConfigError: its file holds no figures, or the new ones cannot be written.
        """
        from pipelines.bench.rows import load_report

        if self.save is not None and not self.save.absolute().parent.is_dir():
            raise ConfigError(f"--save: there is no folder {self.save.absolute().parent}")
        return None if self.compare is None else load_report(self.compare)

    def conclude(self, report: Report, before: Report | None, details: Iterable[Table] = ()) -> None:
        """Print ``report``, after the tables of its ``details``, and end with 1 where it is worse than ``before``."""
        from pipelines.bench import rows

        if self.save is not None:
            self.save.write_text(report.to_json())
        console = output.notes() if self.as_json else output.console()
        if self.as_json:
            typer.echo(report.to_json())
        else:
            for table in (*details, *rows.tables(report)):
                console.print(table)
                console.print()
        if before is None:
            return
        changes = rows.compare(before, report, self.tolerance)
        console.print(rows.change_table(changes, self.tolerance))
        if any(change.worse for change in changes):
            raise typer.Exit(status.SOME_FAILED)
