"""What commands print: tables for people, or one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

# A table that goes into a file or a pipe is not cut to the 80 columns that rich assumes there.
_WIDE = 200


def console() -> Console:
    """Standard output for people."""
    # What an answer or a name holds between colons is no emoji.
    return Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else _WIDE)


def notes() -> Console:
    """Standard error, for what is not the result: questions, warnings, progress."""
    return Console(stderr=True, highlight=False, emoji=False)


def print_json(document: Any) -> None:
    """``document`` on standard output."""
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False))


def table(*headings: str, title: str | None = None) -> Table:
    """An empty table. Columns whose heading ends in ``>`` hold numbers, which stand to the right."""
    made = Table(box=box.SIMPLE_HEAD, header_style="bold", title=title, title_justify="left", title_style="bold")
    for heading in headings:
        right = heading.endswith(">")
        made.add_column(heading.removesuffix(">"), justify="right" if right else "left", no_wrap=right)
    return made


def plain(text: str) -> str:
    """``text`` as it stands, where rich would take brackets for markup."""
    return escape(text)


def size(count: int) -> str:
    """Bytes in the largest binary unit that leaves a number of at least 1."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1024 or unit == "TiB":
            break
    return f"{value:.1f} {unit}"


def mib(count: int) -> str:
    """Bytes in MiB, for columns that are compared."""
    return f"{count / 2**20:.2f}"


def clock(seconds: float) -> str:
    """Seconds of video as ``1:02:03.5``."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}"


def many(count: int, one: str, more: str | None = None) -> str:
    """``1 file``, ``3 files``."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def words(values: Mapping[str, Any]) -> str:
    """Flat values in one line: ``camera north, floor 3``."""
    return ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()
    )
