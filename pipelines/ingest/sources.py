"""From what a user names, files, folders, globs and lists, to the videos that are meant."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec

from videox2l.errors import ConfigError

VIDEO_SUFFIXES = frozenset(".mp4 .m4v .mov .mkv .webm .avi .flv .wmv .ts .mts .m2ts .mpg .mpeg .3gp .ogv".split())
"""What counts as a video in a folder. A file that is named itself is taken whatever its suffix."""

LIST_SUFFIXES = frozenset({".txt", ".csv", ".jsonl"})

COLUMN = "source"
"""The column of a .csv list and the key of a .jsonl list."""


def expand_sources(sources: Iterable[str | Path]) -> list[str]:
    """The videos that ``sources`` stand for, in their order, each once.

    A source is a video file or URL; a folder (its videos, also in folders below, sorted); a glob (``*``, ``?``, ``[]``,
    ``**``), local or on any fsspec file system; or a list: ``.txt`` with a path or URL a line (empty lines and lines
    that start with # are passed over), ``.csv`` with a column ``source``, or ``.jsonl`` with a key ``source``. Relative
    paths in a list count from the list's folder. Files that are named need not exist: they become failed rows later.

    :raises ConfigError: a folder, glob or list holds nothing, a list cannot be read, or nothing was given at all.
    """
    found = list(dict.fromkeys(video for source in sources for video in _expand(str(source))))
    if not found:
        raise ConfigError("no videos were given: name files, folders, globs, or a .txt, .csv or .jsonl list of them")
    return found


def _expand(source: str) -> Sequence[str]:
    remote = "://" in source
    suffix = Path(source).suffix.lower()
    if not remote and Path(source).expanduser().exists():
        path = Path(source).expanduser()
        if path.is_dir():
            return _found(sorted(str(file) for file in path.rglob("*") if _is_video(file)), f"no videos in {path}")
        return _found(list(_listed(path)), f"{path} lists no videos") if suffix in LIST_SUFFIXES else [str(path)]
    if any(mark in source for mark in "*?["):
        return _found(_glob(source), f"nothing matches {source}")
    if suffix in LIST_SUFFIXES:
        reason = "copy it here first" if remote else "check the path"
        raise ConfigError(f"the list {source} is not a local file: {reason}")
    return [source]


def _is_video(file: Path) -> bool:
    # macOS leaves ._name.mp4 files beside the real ones on foreign disks.
    return file.suffix.lower() in VIDEO_SUFFIXES and not file.name.startswith(".") and file.is_file()


def _glob(pattern: str) -> list[str]:
    try:
        filesystem, path = fsspec.url_to_fs(pattern)
        matches = filesystem.glob(path)
    except (ImportError, OSError, ValueError) as error:
        raise ConfigError(f"cannot look for {pattern}: {error}") from error
    names = [match for match in sorted(matches) if not filesystem.isdir(match)]
    return [filesystem.unstrip_protocol(name) for name in names] if "://" in pattern else names


def _listed(path: Path) -> Iterator[str]:
    """The sources in the list at ``path``, expanded, so that a list may name folders and globs too."""
    read = {".txt": _from_text, ".csv": _from_csv, ".jsonl": _from_jsonl}[path.suffix.lower()]
    try:
        entries = list(read(path.read_text(encoding="utf-8-sig").splitlines(), path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read the list {path}: {error}") from error
    for entry in entries:
        # Path joining leaves absolute entries as they are.
        resolved = entry if "://" in entry else str(path.parent / Path(entry).expanduser())
        if Path(resolved).suffix.lower() in LIST_SUFFIXES:
            raise ConfigError(f"{path} names another list, {entry}: write the videos of both into one")
        yield from _expand(resolved)


def _from_text(lines: list[str], _: Path) -> Iterator[str]:
    return (text for line in lines if (text := line.strip()) and not text.startswith("#"))


def _from_csv(lines: list[str], path: Path) -> Iterator[str]:
    rows = csv.DictReader(lines)
    if COLUMN not in (rows.fieldnames or ()):
        raise ConfigError(f"{path} has no column {COLUMN!r}: its first line must name the columns")
    return (row[COLUMN].strip() for row in rows if (row[COLUMN] or "").strip())


def _from_jsonl(lines: list[str], path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}, is not JSON: {error}") from error
        if not isinstance(row, dict) or not isinstance(row.get(COLUMN), str):
            raise ConfigError(f"{path}, line {number}: expected an object with a text under {COLUMN!r}")
        yield row[COLUMN]


def _found(videos: list[str], complaint: str) -> list[str]:
    if not videos:
        raise ConfigError(complaint)
    return videos
