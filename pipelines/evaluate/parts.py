"""What is done of a run: one Parquet file a video, named by everything that its answers follow from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from videox2l.errors import ConfigError
from videox2l.evaluation.benchmarks import Item
from videox2l.evaluation.benchmarks.records import Asking, Record
from videox2l.identity import fingerprint

_SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("condition", pa.string()),
        ("prompt", pa.string()),
        ("answer", pa.string()),
        ("text", pa.string()),
        ("letter", pa.string()),
        ("guessed", pa.bool_()),
        ("correct", pa.bool_()),
        ("error", pa.string()),
        ("chunks", pa.list_(pa.int32())),
        ("degraded", pa.int32()),
        ("memory_tokens", pa.int64()),
        ("bytes_used", pa.int64()),
    ]
)

# Raise it when answers to the same questions come out otherwise: parts of before are not taken for done then.
_VERSION = 1


class Parts:
    """The part files in a folder, which is made if there is none."""

    def __init__(self, folder: Path) -> None:
        """Raises :class:`ConfigError` where it cannot be made."""
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"results cannot be written to {folder}: {error}") from error

    def read(self, key: str) -> list[Record] | None:
        """The records of a finished video, ``None`` where it is none."""
        path = self._path(key)
        if not path.is_file():
            return None
        return [Record.from_dict(row) for row in pyarrow.parquet.read_table(path, schema=_SCHEMA).to_pylist()]

    def write(self, key: str, records: Sequence[Record]) -> None:
        """All at once: a part that is there is whole."""
        rows = [dataclasses.asdict(record) for record in records]
        draft = self._path(key).with_suffix(".tmp")
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), draft)
        draft.replace(self._path(key))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.parquet"


def part_key(benchmark: str, video_id: str, index_fp: str, items: Sequence[Item], asking: Asking) -> str:
    """Equal where equal questions are asked in the same way over the same KVs; ``index_fp`` includes the model."""
    return fingerprint(
        {
            "version": _VERSION,
            "benchmark": benchmark,
            "video": video_id,
            "index": index_fp,
            "items": [[item.id, item.prompt, item.answer, item.options] for item in items],
            "asking": dataclasses.asdict(asking),
        }
    )
