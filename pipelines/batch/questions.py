"""Tables of questions: Parquet, CSV or JSON Lines, on a local disk or at any fsspec URL."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipelines.text_lines import numbered_lines, unique_names
from videox2l.errors import ArchiveError, ConfigError
from videox2l.identity import source_url
from videox2l.store.storage import Storage

# Arrow offsets and a driver's memory are fine with this; more questions than that are several jobs.
_LARGEST = 2**33


def read_table(url: str, storage_options: Mapping[str, Any] | None = None) -> pa.Table:
    """The table at ``url``. What is written as text stays that: all columns of CSV, times and dates of JSON Lines.

    :raises ConfigError: it cannot be read, has no rows, or the same column twice.
    """
    reader = _READERS[suffix(url)]
    storage, name = located(url, storage_options)
    try:
        table = reader(storage.read(name, _LARGEST))
        table.validate(full=True)  # that texts are UTF-8, for one
    except FileNotFoundError as error:
        raise ConfigError(f"there is no table of questions {url}: check the path") from error
    except (pa.ArrowException, ArchiveError, OSError, ValueError) as error:
        raise ConfigError(f"cannot read the questions {url}: {error}") from error
    if not table.num_rows:
        raise ConfigError(f"{url} has no questions")
    twice = {name for name in table.column_names if table.column_names.count(name) > 1}
    if twice:
        raise ConfigError(f"{url}: there are two columns {sorted(twice)[0]!r}")
    return table


def located(url: str, storage_options: Mapping[str, Any] | None = None) -> tuple[Storage, str]:
    """The folder of a file as a storage, and the file's name in it."""
    if "://" in url:
        folder, name = posixpath.split(url)
        return Storage(folder, storage_options), name
    path = Path(source_url(url))
    return Storage(path.parent), path.name


def suffix(url: str) -> str:
    """The kind of table, by the end of its name.

    :raises ConfigError: none that is read and written here.
    """
    found = PurePosixPath(url).suffix.lower()
    if found not in _READERS:
        raise ConfigError(f"{url}: the name must end in {', '.join(_READERS)}")
    return found


def _from_parquet(data: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(data))


def _from_csv(data: bytes) -> pa.Table:
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    names = pa.csv.open_csv(pa.BufferReader(data), parse_options=parse).schema.names
    texts = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    return pa.csv.read_csv(pa.BufferReader(data), parse_options=parse, convert_options=texts)


def _from_jsonl(data: bytes) -> pa.Table:
    # Not by pyarrow.json: it takes texts that look like times for times, in UTC without their offset, and makes a float
    # of a number that needs more than 63 bits.
    rows = [_row(number, line) for number, line in numbered_lines(data)]
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column(name, [row.get(name) for row in rows]) for name in names})


def _column(name: str, values: list[Any]) -> pa.Array:
    """:raises ValueError: there is no type for all of them."""
    for kind in (None, pa.uint64()):
        try:
            return pa.array(values, kind)
        except OverflowError:
            continue
        except (pa.ArrowException, UnicodeError) as error:
            raise ValueError(f"column {name!r}: {error}") from error
    raise ValueError(f"column {name!r} has a number that needs more than 64 bits: write it as text")


def _row(number: int, line: str) -> dict[str, Any]:
    """:raises ValueError: the line is no JSON object."""
    try:
        row = json.loads(line, object_pairs_hook=unique_names)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is no JSON object")
    return row


_READERS: Mapping[str, Callable[[bytes], pa.Table]] = {
    ".parquet": _from_parquet,
    ".csv": _from_csv,
    ".jsonl": _from_jsonl,
}
