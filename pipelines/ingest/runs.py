"""Reading a ledger back: what a run was to do, what became of every video, and how the run ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.ingest.rows import IngestRow
from videox2l.errors import ArchiveNotFoundError, ConfigError
from videox2l.paths import expanded
from videox2l.store.documents import unseal_line
from videox2l.store.layout import RUNS
from videox2l.store.storage import Storage

Outcome = Literal["finished", "interrupted", "stopped", "unfinished"]
"""``stopped``: an error ended the run. ``unfinished``: it still goes on, or its driver was killed."""

SUFFIX = ".jsonl"

_ROW_FIELDS = frozenset(field.name for field in dataclasses.fields(IngestRow))


@dataclass(frozen=True)
class Ended:
    """How a run ended: ``error`` is why it was stopped; ``timeline`` is what :class:`Timeline` collected."""

    outcome: Outcome
    finished: str
    wall_s: float
    error: str = ""
    timeline: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A ledger's content. ``about`` is its first line; ``finished_s`` of each row are seconds since the beginning."""

    run_id: str
    about: Mapping[str, Any]
    rows: tuple[IngestRow, ...]
    finished_s: tuple[float, ...]
    end: Ended | None


def parse_ledger(data: bytes, where: str) -> Run:
    """The run that a ledger's bytes tell of. A last line that was cut off while it was written is passed over.

    :raises CorruptDataError: a line is not what was written.
    :raises ConfigError: this is no ledger.
    """
    whole, _, _ = data.rpartition(b"\n")
    lines = [unseal_line(line, f"{where}, line {n},") for n, line in enumerate(whole.splitlines(), start=1)]
    if not lines or "run" not in lines[0]:
        raise ConfigError(f"{where} is no ledger of an ingest: its first line must describe the run")
    head, *rest = lines
    rows = [line for line in rest if "source" in line]
    ends = [line["end"] for line in rest if "end" in line]
    return Run(
        head["run"],
        head,
        tuple(IngestRow(**{name: value for name, value in row.items() if name in _ROW_FIELDS}) for row in rows),
        tuple(row.get("finished_s", 0.0) for row in rows),
        Ended(**ends[-1]) if ends else None,
    )


def read_run(storage: Storage, name: str = "") -> Run:
    """The run ``name`` of an archive: an id, the start of one, or the path of a ledger's copy; without it the newest.

    :raises ArchiveNotFoundError: there is no such run.
    :raises ConfigError: several runs begin like this, or the file is no ledger.
    :raises CorruptDataError: the ledger is damaged.
    """
    path = expanded(name)
    if name.endswith(SUFFIX) and path.is_file():
        return parse_ledger(path.read_bytes(), str(path))
    runs = sorted(file.removesuffix(SUFFIX) for file in storage.names(RUNS) if file.endswith(SUFFIX))
    found = [run for run in runs if run.startswith(name)] if name else runs[-1:]
    if not found:
        if not runs:
            raise ArchiveNotFoundError(f"nothing was ingested into {storage.url} yet: it has no runs")
        raise ArchiveNotFoundError(f"{storage.url} has no run {name!r}. The newest is {runs[-1]}.")
    if len(found) > 1 and name not in found:
        raise ConfigError(f"{len(found)} runs begin with {name!r}, such as {found[0]} and {found[1]}: write more of it")
    run_id = name if name in found else found[0]
    file = f"{RUNS}/{run_id}{SUFFIX}"
    return parse_ledger(storage.read(file), f"{storage.url}/{file}")
