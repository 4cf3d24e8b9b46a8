"""Which videos may be ingested over HTTP: single files below folders and URL prefixes that an operator has named.

Without this, whoever may submit an ingest could make the service read any file of its machine, or any address of its
network. Lists, globs and folders are refused, since they name other files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipelines.ingest.lists import is_list

_MARKS = re.compile(r"[*?\[\]]")


def is_allowed(source: str, places: Sequence[str]) -> bool:
    """Whether ``source`` is one file below one of ``places``."""
    try:
        if not source.isprintable() or is_list(source):
            return False
        if "://" in source:
            return any(_is_below_url(source, place) for place in places if "://" in place)
    except ValueError:  # no URL
        return False
    return any(_is_below_folder(source, place) for place in places if "://" not in place)


def _is_below_folder(source: str, folder: str) -> bool:
    try:
        # Links are followed first: one inside the folder may lead out of it.
        path = Path(source).resolve(strict=True)
        return Path(source).is_absolute() and path.is_file() and path.is_relative_to(Path(folder).resolve())
    except (OSError, ValueError, RuntimeError):
        return False


def _is_below_url(source: str, prefix: str) -> bool:
    asked, allowed = urlsplit(source), urlsplit(prefix)
    if (asked.scheme, asked.netloc) != (allowed.scheme, allowed.netloc) or asked.fragment:
        return False
    # A question mark begins the query of a web address, as in a signed link; elsewhere it is a glob's.
    if _MARKS.search(asked.query) or ("?" in source and asked.scheme not in ("http", "https")):
        return False
    # Decoded twice, as some servers do: nothing may lead upwards after any of them.
    path = asked.path
    for _ in range(3):
        if ".." in path.split("/") or "\\" in path or _MARKS.search(path) or not path.isprintable():
            return False
        path = unquote(path)
    return asked.path.startswith(allowed.path.rstrip("/") + "/") and not asked.path.endswith("/")
