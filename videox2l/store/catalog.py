"""The catalog: one small Parquet file a committed index, for listings and for queries over a whole archive.

DuckDB, Polars or Ray Data read ``catalog/*.parquet`` as one table. It is a cache of the manifests and never the truth:
a damaged or missing row is replaced from its manifest. One file an index, because object storage has no append, so
writers never wait for one another.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from videox2l.errors import ArchiveError
from videox2l.identity import canonical_json
from videox2l.store import layout
from videox2l.store.manifest import Manifest
from videox2l.store.storage import Range, Storage

# Larger than any row file, so that one ranged request gets a whole one without asking for its size.
_ROW_LIMIT = 2**20


@dataclass(frozen=True)
class CatalogRow:
    """One committed index. Durations in seconds, sizes in bytes, ``created`` in UTC (ISO 8601).

    ``model``, ``sampling`` and ``compression`` are JSON text.
    """

    video_id: str
    index_fp: str
    name: str
    source: str
    size: int
    duration_s: float
    chunks: int
    model_fingerprint: str
    model: str
    sampling: str
    compression: str
    dtype: str
    low_tokens: int
    low_bytes: int
    high_tokens: int
    high_bytes: int
    created: str

    @classmethod
    def of(cls, manifest: Manifest) -> CatalogRow:
        video, spec, totals = manifest.video, manifest.spec, manifest.totals
        return cls(
            video_id=video.video_id,
            index_fp=manifest.index_fp,
            name=video.name,
            source=video.source,
            size=video.size,
            duration_s=manifest.duration_s,
            chunks=len(manifest.chunks),
            model_fingerprint=spec.model_fingerprint,
            model=canonical_json(spec.model).decode(),
            sampling=canonical_json(spec.sampling).decode(),
            compression=canonical_json(spec.compression).decode(),
            dtype=spec.dtype,
            low_tokens=totals["low"].tokens,
            low_bytes=totals["low"].bytes,
            high_tokens=totals["high"].tokens,
            high_bytes=totals["high"].bytes,
            created=manifest.created,
        )


_SCHEMA = pa.schema(
    [
        pa.field(name, {"int": pa.int64(), "float": pa.float64(), "str": pa.string()}[str(kind)], nullable=False)
        for name, kind in CatalogRow.__annotations__.items()
    ]
)


def write(storage: Storage, manifest: Manifest) -> None:
    """Store the manifest's row, replacing an older one.

    :raises ArchiveNotWritableError: the storage refused.
    """
    sink = io.BytesIO()
    table = pa.Table.from_pylist([asdict(CatalogRow.of(manifest))], schema=_SCHEMA)
    pq.write_table(table, sink, write_page_checksum=True)
    storage.write(layout.catalog(manifest.video.video_id, manifest.index_fp), sink.getvalue())


def keys(storage: Storage) -> set[tuple[str, str]]:
    """(video id, index fingerprint) of every row, from the file names alone.

    :raises ArchiveError: the storage cannot be read.
    """
    found = (name.removesuffix(".parquet").partition("-") for name in storage.names(layout.CATALOG))
    return {(video_id, index_fp) for video_id, dash, index_fp in found if dash}


def read(storage: Storage, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], CatalogRow]:
    """The rows of these keys, fetched at once. Those that are missing or damaged are left out."""
    ordered = sorted(wanted)
    try:
        files = storage.read_ranges([Range(layout.catalog(*key), 0, _ROW_LIMIT) for key in ordered])
    except (FileNotFoundError, ArchiveError):
        return {}  # one was deleted meanwhile; the manifests know
    rows = {}
    for key, data in zip(ordered, files, strict=True):
        row = _parse(data)
        if row is not None and (row.video_id, row.index_fp) == key:
            rows[key] = row
    return rows


def _parse(data: bytes) -> CatalogRow | None:
    try:
        table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
        return CatalogRow(**table.to_pylist()[0])
    except (pa.ArrowException, OSError, TypeError, IndexError, UnicodeDecodeError):
        return None
