"""The finished table: the questions' own columns, their videos, and the answers."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipelines.batch.answers import ANSWER_SCHEMA, PART_SCHEMA, ROW
from pipelines.batch.parts import parts_folder
from pipelines.batch.plan import Plan, Target
from pipelines.batch.questions import located, suffix
from videox2l.answering.answer import finite

_DIGEST = b"videox2l.batch"

_ADDED = ["video_id", "video_name", *ANSWER_SCHEMA.names]


class Output:
    """The file that a job writes: Parquet, CSV or JSON Lines."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.url = url
        self._suffix = suffix(url)
        self.storage, self.name = located(url, storage_options)

    def exists(self) -> bool:
        return self.storage.exists(self.name)

    def check(self) -> None:
        """Find out before anything is asked whether answers can be stored.

        :raises ArchiveNotWritableError: they cannot.
        """
        trial = f"{parts_folder(self.name)}/.trial-{uuid.uuid4().hex}"
        self.storage.write(trial, b"")
        self.storage.delete(trial)
        self.storage.delete_empty_folders(parts_folder(self.name))

    def earlier(self, digest: str) -> pa.Table | None:
        """Answers that the same job has written before, as parts have them. Only Parquet says what job it is of."""
        if self._suffix != ".parquet" or not self.exists():
            return None
        with self.storage.fs.open(f"{self.storage.root}/{self.name}", "rb") as stream:
            try:
                metadata = pq.read_schema(stream).metadata or {}
            except pa.ArrowException:
                return None
            if metadata.get(_DIGEST) != digest.encode():
                return None
            stream.seek(0)
            table = pq.read_table(stream)
        rows = pa.array(range(table.num_rows), pa.int64())
        return table.select(ANSWER_SCHEMA.names).add_column(0, ROW, rows).cast(PART_SCHEMA)

    def write(self, table: pa.Table, digest: str) -> None:
        """Whole or not at all."""
        sink = pa.BufferOutputStream()
        if self._suffix == ".parquet":
            pq.write_table(table.replace_schema_metadata({_DIGEST: digest}), sink, compression="zstd")
        elif self._suffix == ".csv":
            pa.csv.write_csv(_flat(table), sink)
        else:
            for row in table.to_pylist():
                sink.write(f"{_dumped(row)}\n".encode())
        self.storage.write(self.name, sink.getvalue().to_pybytes())


def finished(questions: pa.Table, plan: Plan, answers: pa.Table) -> pa.Table:
    """One line a target. ``answers`` has a line for each, in their order.

    Columns of the questions that are called as those added here become ``input_…``, such as a known ``answer``.
    """
    names = [_carried(name, questions.column_names) for name in questions.column_names]
    carried = questions.take(pa.array([target.source for target in plan.targets], pa.int64())).rename_columns(names)
    carried = carried.append_column("video_id", _column(plan.targets, "video_id"))
    carried = carried.append_column("video_name", _column(plan.targets, "video_name"))
    for name in ANSWER_SCHEMA.names:
        carried = carried.append_column(ANSWER_SCHEMA.field(name), answers[name])
    return carried


def _column(targets: Sequence[Target], name: str) -> pa.Array:
    return pa.array([getattr(target, name) for target in targets], pa.string())


def _carried(name: str, names: Sequence[str]) -> str:
    """``name``, or one that is free where it is taken by an added column."""
    if name not in _ADDED:
        return name
    while name in _ADDED or name in names:
        name = f"input_{name}"
    return name


def _flat(table: pa.Table) -> pa.Table:
    """What CSV cannot hold as texts: nested columns as JSON, binary ones as hexadecimal digits."""
    for place, column in enumerate(table.schema):
        if pa.types.is_nested(column.type):
            write: Callable[[Any], str] = _dumped
        elif _is_binary(column.type):
            write = bytes.hex
        elif isinstance(column.type, pa.BaseExtensionType) or pa.types.is_string_view(column.type):
            write = str  # a UUID, for one
        else:
            continue
        texts = [None if value is None else write(value) for value in table[column.name].to_pylist()]
        table = table.set_column(place, column.name, pa.array(texts, pa.string()))
    return table


def _is_binary(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(is_one(kind) for is_one in kinds)


def _dumped(value: Any) -> str:
    return json.dumps(finite(value), ensure_ascii=False, default=_json, allow_nan=False)


def _json(value: Any) -> Any:
    """What JSON has no type for."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)
