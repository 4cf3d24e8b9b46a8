"""``videox2l report``: what an ingest has done, out of its ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pipelines.cli import options, output

if TYPE_CHECKING:
    from collections.abc import Mapping

# More rows than a screen has are for the page.
_MOST_ROWS = 20


def report(
    run: Annotated[
        str,
        typer.Argument(help="A run's id or the start of it, or a ledger file (.jsonl). Without it: the newest run."),
    ] = "",
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page to this file.", metavar="FILE")] = None,
    as_json: options.Json = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Show what an ingest has done: totals, where the time went, the slowest videos, and those that failed.

    An ingest keeps its report in the archive, `runs/RUN.html` and `.json`; this command makes it again from the ledger,
    also of a run that is still going on or was killed.

    `videox2l report --archive archive --html report.html`
    """
    from pipelines.ingest.page import render
    from pipelines.ingest.report import run_report
    from pipelines.ingest.runs import read_run
    from videox2l.errors import ConfigError
    from videox2l.store.storage import Storage

    made = run_report(read_run(Storage(archive, storage_options), run))
    if html is not None:
        try:
            html.write_text(render(made), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"the report cannot be written to {html}: {error}") from error
        output.notes().print(f"written to {html}", soft_wrap=True, markup=False)
    if as_json:
        output.print_json(made)
    elif html is None:
        _print(made)


def _print(report: Mapping[str, Any]) -> None:
    console = output.console()
    for name, value in _facts(report):
        console.print(f"{name:22} {value}", soft_wrap=True, markup=False)
    if report["slowest"]:
        console.print(_slowest(report))
    if report["failed"]:
        console.print(_failed(report))


def _facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    totals, rate = report["totals"], report["totals"]["video_hours_per_hour"]
    statuses = ", ".join(f"{count} {status}" for status, count in totals["by_status"].items())
    return [
        ("run", report["run"]),
        ("outcome", ": ".join(filter(None, (report["outcome"], report["error"])))),
        ("videos", f"{totals['through']} of {totals['videos']}{f' ({statuses})' if statuses else ''}"),
        ("video prefilled", f"{output.clock(totals['video_s'])} in {totals['chunks']} chunks"),
        ("took", output.clock(report["wall_s"])),
        ("hours of video an hour", "–" if rate is None else f"{rate:.3g}"),
        ("low and high KVs", f"{output.size(totals['low_bytes'])}, {output.size(totals['high_bytes'])}"),
        ("seconds by stage", ", ".join(f"{stage} {value:.1f}" for stage, value in report["stages_s"].items())),
    ]


def _slowest(report: Mapping[str, Any]) -> Table:
    table = output.table("slowest videos", "length>", "chunks>", "seconds>")
    for row in report["slowest"][:_MOST_ROWS]:
        numbers = (output.clock(row["duration_s"]), str(row["chunks"]), f"{row['work_s']:.1f}")
        table.add_row(output.plain(row["name"]), *numbers)
    return table


def _failed(report: Mapping[str, Any]) -> Table:
    table = output.table("failed videos", "reason")
    for row in report["failed"][:_MOST_ROWS]:
        table.add_row(output.plain(row["name"]), output.plain(row.get("error", "")))
    if len(report["failed"]) > _MOST_ROWS:
        table.add_row(f"and {len(report['failed']) - _MOST_ROWS} more", "see --html or --json")
    return table
