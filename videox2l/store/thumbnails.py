"""Thumbnails: one small JPEG a chunk, for people to know it by, beside the KVs and never among them.

They lie in shards of their own: Arrow IPC files with a record batch of one row (``chunk``, ``jpeg``) for each. The
manifest says where each JPEG's own bytes are, so that a reader needs no Arrow for them.
"""

from __future__ import annotations

import pyarrow as pa

from videox2l.errors import CorruptDataError
from videox2l.kv.heads import HeadRange
from videox2l.store.arrow_file import ArrowFile, locate
from videox2l.store.documents import checksum
from videox2l.store.entries import ShardEntry, StoredThumbnail
from videox2l.store.manifest import MAX_THUMBNAIL_BYTES, Manifest
from videox2l.store.shard import Shard
from videox2l.store.storage import Range, Storage

# Three thousand pictures of 5 KB: one upload for most videos, and nothing beside the shards of KVs that a writer holds.
_TARGET_BYTES = 16 * 2**20

_SCHEMA = pa.schema(
    [pa.field("chunk", pa.int64(), nullable=False), pa.field("jpeg", pa.large_binary(), nullable=False)],
    metadata={"part": "thumbnails"},
)


class ThumbnailBuilder:
    """Collects thumbnails into one file in memory. Arguments as of :class:`~videox2l.store.shard.ShardBuilder`."""

    def __init__(self, number: int, attempt: str, name: str, head_ranges: tuple[HeadRange, ...]) -> None:
        self.number = number
        self._attempt, self._name, self._head_ranges = attempt, name, head_ranges
        self._file = ArrowFile(_SCHEMA)

    def has_room(self, jpeg: bytes) -> bool:
        """Whether ``jpeg`` still fits below the target size. An empty file takes anything."""
        return self._file.empty or self._file.size + len(jpeg) <= _TARGET_BYTES

    def add(self, chunk: int, jpeg: bytes) -> StoredThumbnail:
        """Put the picture of chunk number ``chunk`` into the file."""
        arrays = [pa.array([chunk], pa.int64()), pa.array([jpeg], pa.large_binary())]
        with self._file.add(arrays) as (start, message):
            _, (offset, length) = locate(message, _SCHEMA)
        return StoredThumbnail(self.number, start + offset, length, checksum(jpeg))

    def finish(self) -> Shard:
        data = self._file.finish()
        entry = ShardEntry(self._attempt, self._name, "thumbnails", len(data), checksum(data), self._head_ranges)
        return Shard(entry, data)


def check_thumbnail(jpeg: bytes) -> None:
    """Raise ``ValueError`` for what is no JPEG, or larger than an archive keeps."""
    if not jpeg.startswith(_JPEG):
        raise ValueError("a thumbnail is a JPEG")
    if len(jpeg) > MAX_THUMBNAIL_BYTES:
        raise ValueError(f"a thumbnail has at most {MAX_THUMBNAIL_BYTES} bytes, not {len(jpeg)}")


_JPEG = b"\xff\xd8\xff"  # what every JPEG begins with


def read_thumbnail(storage: Storage, manifest: Manifest, chunk: int) -> bytes | None:
    """The JPEG of a chunk, verified, in one ranged request; None where none was kept.

    :raises IndexError: there is no such chunk.
    :raises CorruptDataError: it is missing, or not what was written.
    """
    if not 0 <= chunk < len(manifest.chunks):
        raise IndexError(f"{manifest.video.name} has chunks 0 to {len(manifest.chunks) - 1}, and no chunk {chunk}")
    stored = manifest.chunks[chunk].thumbnail
    if stored is None:
        return None
    path = manifest.shard_path(stored.shard)
    remedy = "Run `videox2l repair`, or ingest the video again; its KVs are not concerned."
    try:
        [data] = storage.read_ranges([Range(path, stored.offset, stored.length)])
    except FileNotFoundError as error:
        raise CorruptDataError(f"{path}, which holds the thumbnail of chunk {chunk}, is missing. {remedy}") from error
    if len(data) != stored.length or checksum(data) != stored.checksum:
        raise CorruptDataError(f"{path}, thumbnail of chunk {chunk}: the stored bytes changed. {remedy}")
    return bytes(data)
