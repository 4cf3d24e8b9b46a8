"""Finding and reading what a benchmark is distributed as."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet

from videox2l.errors import ConfigError
from videox2l.evaluation.benchmarks.benchmark import LETTERS, Problem

Row = Mapping[str, Any]


class BrokenRowError(ValueError):
    """A question's annotations make no sense; the message says why."""


def find(folder: Path, patterns: Sequence[str], title: str) -> Path:
    """The first file below ``folder`` that fits one of ``patterns``, tried in order.

    :raises ConfigError: there is none.
    """
    for pattern in patterns:
        if found := sorted(folder.glob(pattern)):
            return found[0]
    raise ConfigError(
        f"{folder} is not laid out as {title} is distributed: it has no {' and no '.join(patterns)}. Give the folder "
        "that the data set was downloaded into."
    )


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSON array or a Parquet file.

    :raises ConfigError: the file is neither.
    """
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist() if path.suffix == ".parquet" else _json(path)
    except (OSError, ValueError) as error:  # pyarrow's own derive from both
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path} is no list of questions")
    return rows


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def field(row: Row, *names: str) -> str:
    """The first of these fields that the row has, as text.

    :raises BrokenRowError: it has none of them.
    """
    for name in names:
        if row.get(name) is not None:
            return str(row[name])
    raise BrokenRowError(f"it has no {' or '.join(names)}")


def options_of(row: Row, *names: str) -> list[str]:
    """The options of a question, as text.

    :raises BrokenRowError: there are not two to ten of them.
    """
    for name in names:
        found = row.get(name)
        if isinstance(found, list) and 2 <= len(found) <= len(LETTERS):
            return [str(option) for option in found]
    raise BrokenRowError(f"its {' or '.join(names)} are no list of 2 to {len(LETTERS)} options")


def letter_of(answer: object, options: Sequence[str]) -> str:
    """The letter of the option that reads ``answer``.

    :raises BrokenRowError: none does, or several do.
    """
    places = [place for place, option in enumerate(options) if option == str(answer)]
    if len(places) != 1:
        raise BrokenRowError(f"its answer {str(answer)!r} is {'several' if places else 'none'} of its options")
    return LETTERS[places[0]]


def first_file(*candidates: Path) -> Path | None:
    """The first of these that is a file."""
    return next((path for path in candidates if path.is_file()), None)


@contextmanager
def noting(problems: list[Problem], where: str) -> Iterator[None]:
    """A :class:`BrokenRowError` inside becomes a problem."""
    try:
        yield
    except BrokenRowError as error:
        problems.append(Problem("broken", where, str(error)))
