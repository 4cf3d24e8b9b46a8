"""The catalog: one small Parquet file a committed index, for listings and for queries over a whole archive.

DuckDB, Polars or Ray Data read ``catalog/*.parquet`` as one table. It is a cache of the manifests and never the truth:
a damaged or missing row is replaced from its manifest. One file an index, because object storage has no append, so
writers never wait for one another.

Each file's footer carries, under the key ``checksum``, the XXH3-128 of the file with that checksum's digits as zeros.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from videox2l.errors import ArchiveError, ArchiveFormatError
from videox2l.identity import RetrieverIdentity, canonical_json
from videox2l.store import layout
from videox2l.store.documents import checksum
from videox2l.store.manifest import Manifest, parse_retriever
from videox2l.store.metadata import Alias, Description
from videox2l.store.storage import Range, Storage

_CHECKSUM_KEY = "checksum"
_NO_CHECKSUM = "0" * 32

# Larger than any row file, so that one ranged request gets a whole one without asking for its size.
_ROW_LIMIT = 2**20


@dataclass(frozen=True)
class CatalogRow:
    """One committed index. Durations in seconds, sizes in bytes, ``created`` in UTC (ISO 8601).

    ``model``, ``sampling``, ``compression``, ``metadata`` (an object) and ``aliases`` (a list of objects with ``name``
    and ``source``) are JSON text, and so is ``retriever`` (whose vectors the chunks have, an object), empty where there
    are none. ``recorded_at`` is empty where it was not given.
    """

    video_id: str
    index_fp: str
    name: str
    source: str
    size: int
    sha256: str
    duration_s: float
    chunks: int
    model_fingerprint: str
    model: str
    sampling: str
    compression: str
    dtype: str
    low_codec: str
    high_codec: str
    low_tokens: int
    low_bytes: int
    high_tokens: int
    high_bytes: int
    created: str
    recorded_at: str
    metadata: str
    aliases: str
    retriever: str

    @property
    def description(self) -> Description:
        """What is said of the video."""
        metadata = json.loads(self.metadata)
        return Description(self.name, self.source, self.other_names, self.recorded_at or None, metadata)

    @property
    def other_names(self) -> tuple[Alias, ...]:
        """``aliases`` as data."""
        return () if self.aliases == "[]" else tuple(Alias(**alias) for alias in json.loads(self.aliases))

    @property
    def retrieved_by(self) -> RetrieverIdentity | None:
        """``retriever`` as data."""
        return parse_retriever(json.loads(self.retriever), "a catalog row") if self.retriever else None

    @classmethod
    def of(cls, manifest: Manifest) -> CatalogRow:
        video, spec, totals, retriever = manifest.video, manifest.spec, manifest.totals, manifest.retriever
        return cls(
            video_id=video.video_id,
            index_fp=manifest.index_fp,
            name=video.name,
            source=video.source,
            size=video.size,
            sha256=video.sha256,
            duration_s=manifest.duration_s,
            chunks=len(manifest.chunks),
            model_fingerprint=spec.model_fingerprint,
            model=canonical_json(spec.model).decode(),
            sampling=canonical_json(spec.sampling).decode(),
            compression=canonical_json(spec.compression).decode(),
            dtype=spec.dtype,
            low_codec=spec.codecs["low"],
            high_codec=spec.codecs["high"],
            low_tokens=totals["low"].tokens,
            low_bytes=totals["low"].bytes,
            high_tokens=totals["high"].tokens,
            high_bytes=totals["high"].bytes,
            created=manifest.created,
            recorded_at=manifest.recorded_at or "",
            metadata=canonical_json(manifest.metadata).decode(),
            aliases=canonical_json([asdict(alias) for alias in manifest.aliases]).decode(),
            retriever="" if retriever is None else canonical_json(asdict(retriever)).decode(),
        )


_SCHEMA = pa.schema(
    [
        pa.field(name, {"int": pa.int64(), "float": pa.float64(), "str": pa.string()}[str(kind)], nullable=False)
        for name, kind in CatalogRow.__annotations__.items()
    ]
)


def write(storage: Storage, manifest: Manifest) -> None:
    """Store the row of the manifest that is in place, replacing an older one.

    If that was replaced or removed since, by somebody whose row this one may have taken the place of, the row goes.

    :raises ArchiveError: the storage refused, or does not answer.
    """
    path, data = layout.catalog(manifest.video.video_id, manifest.index_fp), to_parquet(CatalogRow.of(manifest))
    storage.write(path, data)
    try:
        if storage.read(manifest.path) != manifest.to_json():
            announce(storage, manifest)
    except FileNotFoundError:
        _withdraw(storage, path, data)


def restore(storage: Storage, manifest: Manifest, version: str | None) -> None:
    """Store the manifest's row if the file is still ``version``, or missing (None): a writer's newer row stays.

    If the manifest was removed since it was read, the row goes again.

    :raises FileExistsError: somebody wrote it meanwhile.
    :raises ArchiveNotWritableError: the storage refused.
    """
    path, data = layout.catalog(manifest.video.video_id, manifest.index_fp), to_parquet(CatalogRow.of(manifest))
    if version is None:
        storage.create(path, data)
    else:
        storage.swap(path, data, version)
    if not storage.exists(manifest.path):
        _withdraw(storage, path, data)


def _withdraw(storage: Storage, path: str, data: bytes) -> None:
    """Take back the row ``data`` of an index that is gone, unless another writer's has taken its place.

    By a file without a row: if it were deleted, an index that is committed just now could be without a file.
    """
    version = storage.version(path)
    with contextlib.suppress(FileNotFoundError, FileExistsError):
        if version is not None and storage.read(path) == data:
            storage.swap(path, _table([]), version)


def announce(storage: Storage, manifest: Manifest, *, anew: bool = False) -> None:
    """Store a file without a row, in place of one that is about to be wrong; ``anew``: only if there is none.

    Who lists makes the row from the manifest then. Done before the manifest is stored, so that no writer that is killed
    behind it leaves an index unlisted.

    :raises ArchiveNotWritableError: the storage refused.
    """
    path, data = layout.catalog(manifest.video.video_id, manifest.index_fp), _table([])
    if not anew:
        storage.write(path, data)
        return
    with contextlib.suppress(FileExistsError):  # another writer's, which may be the row already
        storage.create(path, data)


def delete(storage: Storage, manifest: Manifest) -> None:
    """Delete the row of a manifest that goes.

    :raises ArchiveNotWritableError: the storage refused.
    """
    storage.delete(layout.catalog(manifest.video.video_id, manifest.index_fp))


def to_parquet(row: CatalogRow) -> bytes:
    """A table of this one row, with its checksum."""
    return _table([row])


def is_announcement(data: bytes | memoryview) -> bool:
    """Whether a file is one of :func:`announce`."""
    return _rows(bytes(data)) == []


def _table(rows: list[CatalogRow]) -> bytes:
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, _SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=_SCHEMA))
        writer.add_key_value_metadata({_CHECKSUM_KEY: _NO_CHECKSUM})
    data = sink.getvalue()
    # The last ones: what people say of a video may hold as many zeros, and stands before the footer's metadata.
    before, _, behind = data.rpartition(_NO_CHECKSUM.encode())
    return before + checksum(data).encode() + behind


def from_parquet(data: bytes | memoryview) -> CatalogRow | None:
    """The row of a file, or None if it has none or is damaged."""
    rows = _rows(bytes(data))
    return rows[0] if rows else None


def _rows(data: bytes) -> list[CatalogRow] | None:
    """The one row of a file, or none; None if the file is damaged."""
    try:
        # No read-ahead and no threads: those that outlive an error can crash the process, and a row needs none.
        file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
        written = (file.metadata.metadata or {})[_CHECKSUM_KEY.encode()]
        if checksum(data.replace(written, _NO_CHECKSUM.encode(), 1)) != written.decode():
            return None
        if file.metadata.num_rows > 1 or not file.schema_arrow.equals(_SCHEMA):
            return None
        rows = [CatalogRow(**row) for row in file.read(use_threads=False).to_pylist()]
        return rows if all(_is_sound(row) for row in rows) else None
    except (ArchiveFormatError, pa.ArrowException, OSError, TypeError, IndexError, KeyError, ValueError):
        return None


def _is_sound(row: CatalogRow) -> bool:
    if row.retriever and not row.retrieved_by:
        return False
    named = all(isinstance(alias.name, str) for alias in row.other_names)
    return named and isinstance(json.loads(row.metadata), dict)


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
    except FileNotFoundError:  # one was deleted meanwhile
        left = set(ordered) & keys(storage)
        return read(storage, left) if len(left) < len(ordered) else {}
    except ArchiveError:
        return {}  # the manifests know
    rows = {}
    for key, data in zip(ordered, files, strict=True):
        row = from_parquet(data)
        if row is not None and (row.video_id, row.index_fp) == key:
            rows[key] = row
    return rows
