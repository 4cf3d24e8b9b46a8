"""Lists of videos: a line or row for each, with what is known of it. Everything wrong is said with its place."""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.text_lines import numbered_lines, unique_names, utf8
from videox2l.config import SamplingConfig
from videox2l.errors import ConfigError
from videox2l.prefill.ingest import wall_clock
from videox2l.store.lookup import is_id
from videox2l.store.metadata import MetadataValue, metadata_problem, name_problem

SOURCE = "source"
"""The column that every list of columns must have."""

OWN_COLUMNS = (SOURCE, "id", "recorded_at", "fps")
"""The columns that mean something here. All others are metadata."""

# Of a column's name to one of ours that is missing: a letter or two. (Python's ratio of matching letters.)
_LIKENESS = 0.9

Row = tuple[int, dict[str, Any]]
"""Number of a line or row, counted from 1, and its values by column."""


@dataclass(frozen=True)
class Entry:
    """What a list says of one source, which stands as it is written there. ``where`` is its place, for messages."""

    where: str
    source: str
    name: str = ""
    recorded_at: str | None = None
    fps: float | None = None
    metadata: Mapping[str, MetadataValue] | None = None


def is_list(source: str) -> bool:
    """Whether ``source`` (a path or URL) names a list, by its suffix."""
    return _suffix(source) in _READERS


def read_list(source: str) -> list[Entry]:
    """The entries of the list at ``source``, a path or any fsspec URL, in their order; never empty.

    :raises ConfigError: it cannot be read, lists nothing, lacks its column, or a value is not what it has to be. The
        message names the line (of text) or row (of Parquet).
    """
    try:
        rows = list(_READERS[_suffix(source)](_bytes(source), source))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no list {source}: check the path") from error
    except ConfigError:
        raise
    except Exception as error:  # drivers of remote storages raise types of their own
        raise ConfigError(f"cannot read the list {source}: {error}") from error
    place = "row" if _suffix(source) == ".parquet" else "line"
    entries = [_entry(values, f"{source}, {place} {number}") for number, values in rows]
    if not entries:
        raise ConfigError(f"{source} lists no videos")
    _check_names(entries)
    return entries


def _bytes(source: str) -> bytes:
    if "://" not in source:
        return Path(source).read_bytes()
    with fsspec.open(source, "rb") as stream:
        data: bytes = stream.read()
    return data


def _suffix(source: str) -> str:
    path = urlsplit(source).path if source.startswith(("http://", "https://")) else source
    return PurePosixPath(path).suffix.lower()


def _from_text(data: bytes, _: str) -> Iterator[Row]:
    return ((number, {SOURCE: line}) for number, line in numbered_lines(data) if not line.startswith("#"))


def _from_csv(data: bytes, where: str) -> Iterator[Row]:
    rows = csv.reader(io.StringIO(utf8(data), newline=""), strict=True)
    heading = [name.strip() for name in next(rows, [])]
    _check_columns(heading, f"{where}, line 1")
    for cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(heading):
            raise ConfigError(
                f"{where}, line {rows.line_num}: {len(cells)} values for {len(heading)} columns. Put quotation marks "
                "around values that hold commas."
            )
        # CSV knows only text: a number such as 007 must stay what it is.
        yield rows.line_num, {name: cell.strip() or None for name, cell in zip(heading, cells, strict=True)}


def _from_jsonl(data: bytes, where: str) -> Iterator[Row]:
    for number, line in numbered_lines(data):
        try:
            row = json.loads(line, parse_constant=_no_number, object_pairs_hook=unique_names)
        except ValueError as error:
            raise ConfigError(f"{where}, line {number}, is not a JSON object: {error}") from error
        if not isinstance(row, dict):
            raise ConfigError(f"{where}, line {number}: expected an object such as {{{json.dumps(SOURCE)}: …}}")
        _check_columns(list(row), f"{where}, line {number}")
        yield number, row


def _from_parquet(data: bytes, where: str) -> Iterator[Row]:
    table = pq.read_table(pa.BufferReader(data))
    _check_columns(table.column_names, where)
    for number, row in enumerate(table.to_pylist(), start=1):
        # Dates have no place in JSON; text of this form compares as they do.
        yield number, {name: value.isoformat() if isinstance(value, date) else value for name, value in row.items()}


_READERS: Mapping[str, Callable[[bytes, str], Iterator[Row]]] = {
    ".txt": _from_text,
    ".csv": _from_csv,
    ".jsonl": _from_jsonl,
    ".parquet": _from_parquet,
}

LIST_SUFFIXES = frozenset(_READERS)


def _check_columns(columns: Collection[str], where: str) -> None:
    twice = next((name for name in columns if list(columns).count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{where}: there are two columns {twice!r}")
    for name in columns:
        meant = _meant(name)
        if meant is not None and meant not in columns:
            raise ConfigError(f"{where}: the column {name!r} is probably meant to be {meant!r}: rename it")
    if SOURCE not in columns:
        there_are = ", ".join(repr(name) for name in columns) or "none"
        raise ConfigError(f"{where}: no column {SOURCE!r}, which names the videos; the columns are {there_are}")


def _meant(column: str) -> str | None:
    """The column of ours that ``column`` is nearly, or None."""
    plain = re.sub(r"[\s-]+", "_", column.strip().casefold())
    if plain == column and plain in OWN_COLUMNS:
        return None
    return next(iter(difflib.get_close_matches(plain, OWN_COLUMNS, n=1, cutoff=_LIKENESS)), None)


def _entry(values: Mapping[str, Any], where: str) -> Entry:
    def wrong(column: str, expected: str) -> ConfigError:
        return ConfigError(f"{where}: {column} is {values[column]!r}; expected {expected}")

    source = values[SOURCE]
    if not isinstance(source, str) or not source.strip():
        raise wrong(SOURCE, "the path or URL of a video")
    name, recorded_at, fps = (values.get(column) for column in OWN_COLUMNS[1:])
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if name is not None and (not isinstance(name, str) or name_problem(name) or is_id(name)):
        problem = name_problem(name) if isinstance(name, str) else "is no text"
        raise wrong("id", f"a name of your own, but it {problem or 'looks like the id that a content has'}")
    try:
        recorded_at = None if recorded_at is None else wall_clock(str(recorded_at))
        fps = None if fps is None else _fps(fps)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    metadata = {column: value for column, value in values.items() if column not in OWN_COLUMNS}
    problem = metadata_problem(metadata)
    if problem:
        raise ConfigError(f"{where}: of the metadata, {problem}")
    return Entry(where, source.strip(), name or "", recorded_at, fps, metadata or None)


def _fps(value: Any) -> float:
    try:
        fps = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        fps = math.nan
    if math.isnan(fps):
        raise ConfigError(f"fps is {value!r}; expected frames a second, such as 0.5")
    return SamplingConfig(fps).fps


def _check_names(entries: Collection[Entry]) -> None:
    first: dict[str, str] = {}
    for entry in entries:
        if entry.name and (before := first.setdefault(entry.name, entry.where)) != entry.where:
            raise ConfigError(f"{entry.where}: the id {entry.name!r} is taken, by {before}; ids must be unique")


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
