"""What is kept of a chunk beside its KVs: a thumbnail for people, vectors of a retriever. Small, and never among KVs.

Each kind lies in shards of its own: Arrow IPC files with a record batch of one row (``chunk``, and the ``bytes``) a
chunk. The manifest says where each one's own bytes are, so that a reader needs no Arrow for them.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from videox2l.errors import CorruptDataError
from videox2l.kv.heads import HeadRange
from videox2l.store.arrow_file import ArrowFile, locate
from videox2l.store.documents import checksum
from videox2l.store.entries import ShardEntry, StoredAttachment
from videox2l.store.layout import Attachment
from videox2l.store.manifest import Manifest
from videox2l.store.shard import Shard
from videox2l.store.storage import Range, Storage

# Three thousand pictures of 5 KB: one upload for most videos, and nothing beside the shards of KVs that a writer holds.
_TARGET_BYTES = 16 * 2**20

_COLUMNS: Mapping[Attachment, str] = {"thumbnails": "jpeg", "vectors": "vectors"}


class AttachmentBuilder:
    """Collects attachments of one kind into one file in memory.

    Arguments as of :class:`~videox2l.store.shard.ShardBuilder`.
    """

    def __init__(
        self, part: Attachment, number: int, attempt: str, name: str, head_ranges: tuple[HeadRange, ...]
    ) -> None:
        self.number = number
        self._part, self._attempt, self._name, self._head_ranges = part, attempt, name, head_ranges
        columns = [
            pa.field("chunk", pa.int64(), nullable=False),
            pa.field(_COLUMNS[part], pa.large_binary(), nullable=False),
        ]
        self._schema = pa.schema(columns, metadata={"part": part})
        self._file = ArrowFile(self._schema)

    def has_room(self, data: bytes) -> bool:
        """Whether ``data`` still fits below the target size. An empty file takes anything."""
        return self._file.empty or self._file.size + len(data) <= _TARGET_BYTES

    def add(self, chunk: int, data: bytes) -> StoredAttachment:
        """Put what belongs to chunk number ``chunk`` into the file."""
        arrays = [pa.array([chunk], pa.int64()), pa.array([data], pa.large_binary())]
        with self._file.add(arrays) as (start, message):
            _, (offset, length) = locate(message, self._schema)
        return StoredAttachment(self.number, start + offset, length, checksum(data))

    def finish(self) -> Shard:
        data = self._file.finish()
        entry = ShardEntry(self._attempt, self._name, self._part, len(data), checksum(data), self._head_ranges)
        return Shard(entry, data)


def read_attachments(
    storage: Storage, manifest: Manifest, stored: Mapping[int, StoredAttachment], what: str
) -> list[bytes]:
    """Those of some chunks, verified, all at once; ``what`` names them in errors.

    :raises CorruptDataError: one is missing, or not what was written.
    """
    remedy = "Run `videox2l repair`, or ingest the video again; its KVs are not concerned."
    places = [Range(manifest.shard_path(one.shard), one.offset, one.length) for one in stored.values()]
    try:
        found = storage.read_ranges(places)
    except FileNotFoundError as error:
        raise CorruptDataError(
            f"{manifest.path}: a shard with the {what} of chunk {min(stored)} is missing ({error}). {remedy}"
        ) from error
    for (chunk, one), place, data in zip(stored.items(), places, found, strict=True):
        if len(data) != one.length or checksum(data) != one.checksum:
            raise CorruptDataError(f"{place.path}, {what} of chunk {chunk}: the stored bytes changed. {remedy}")
    return [bytes(data) for data in found]
