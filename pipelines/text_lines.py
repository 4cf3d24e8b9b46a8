"""Lines of tables that people write: of lists of videos, and of questions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any


def utf8(data: bytes) -> str:
    """Its line ends are as they are in the file; a byte order mark, which Excel writes, is passed over.

    :raises ValueError: it is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text ({error}); save it as UTF-8") from error


def numbered_lines(data: bytes) -> Iterator[tuple[int, str]]:
    """Those that are not blank, each with its number from 1 and without the space around it.

    :raises ValueError: it is not UTF-8.
    """
    # Not splitlines(), which also ends lines at characters that names may hold.
    for number, line in enumerate(re.split("\r\n|\n|\r", utf8(data)), start=1):
        if line.strip():
            yield number, line.strip()


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, as ``object_pairs_hook`` of :func:`json.loads`, which alone would keep the last of two values.

    :raises ValueError: a name occurs twice in it.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"one of the names {', '.join(map(repr, found))} stands there twice")
    return found
