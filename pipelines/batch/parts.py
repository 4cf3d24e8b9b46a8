"""Answers while a job runs: small Parquet files beside the output, by the job's digest and by video.

They are what makes a job go on where it was ended: what is stored is not asked again. Another digest, of changed
questions, settings, videos or model, sees none of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.batch.answers import PART_SCHEMA, ROW, to_table
from videox2l.errors import CorruptDataError
from videox2l.store.storage import Storage

# A part holds some hundred answers.
_LARGEST = 2**30


def parts_folder(name: str) -> str:
    """Where the parts of the output ``name`` are, beside it."""
    return f"{name}.parts"


class Parts:
    """The parts of one job. Cheap to pickle."""

    def __init__(self, storage: Storage, folder: str, digest: str) -> None:
        """In ``folder`` of ``storage``."""
        self._storage, self._folder = storage, folder
        self._home = f"{folder}/{digest}"
        self._digest = digest

    def write(self, video_id: str, rows: list[dict[str, Any]]) -> None:
        """Store answers about a video; whole or not at all."""
        sink = pa.BufferOutputStream()
        pq.write_table(to_table(rows), sink)
        self._storage.write(f"{self._home}/{video_id}/{uuid.uuid4().hex}.parquet", sink.getvalue().to_pybytes())

    def answered(self, video_id: str) -> set[int]:
        """Rows of a video that have an answer."""
        home = f"{self._home}/{video_id}"
        return succeeded(self._read(f"{home}/{name}" for name in self._storage.names(home)))

    def read(self) -> pa.Table:
        """All answers, one a row, in the order of their rows: of several tries the one that did not fail."""
        return newest(self._read(file.path for file in self._storage.files(self._home)))

    def others(self) -> list[str]:
        """Digests of other jobs that have left parts here."""
        return [name for name in self._storage.names(self._folder) if name != self._digest]

    def delete(self) -> None:
        """Delete them, once the output is written."""
        self._storage.delete_folder(self._home)
        self._storage.delete_empty_folders(self._folder)

    def _read(self, paths: Iterable[str]) -> pa.Table:
        tables = [
            self._read_part(path)
            for path in paths
            if path.endswith(".parquet") and not path.rpartition("/")[2].startswith(".")
        ]
        return pa.concat_tables([PART_SCHEMA.empty_table(), *tables])

    def _read_part(self, path: str) -> pa.Table:
        try:
            return pq.read_table(pa.BufferReader(self._storage.read(path, _LARGEST))).cast(PART_SCHEMA)
        except (pa.ArrowException, ValueError) as error:  # a schema that does not fit is a ValueError
            raise CorruptDataError(
                f"{self._storage.url}/{path} is no table of answers: {error}. "
                "Delete it, and its questions are asked again."
            ) from error


def succeeded(table: pa.Table) -> set[int]:
    """Rows of ``table`` that have an answer."""
    return set(table.filter(pc.is_null(table["error"]))[ROW].to_pylist())


def newest(table: pa.Table) -> pa.Table:
    """One line a row, sorted: an answer before an error."""
    places: dict[int, int] = {}
    rows, errors = table[ROW].to_pylist(), pc.is_valid(table["error"]).to_pylist()
    for place, row in enumerate(rows):
        if row not in places or errors[places[row]]:
            places[row] = place
    return table.take(pa.array([places[row] for row in sorted(places)], pa.int64()))
