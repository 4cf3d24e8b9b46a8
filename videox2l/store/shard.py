"""Shards: Arrow IPC files with one record batch a KV, readable by any Arrow implementation.

A batch has one row and a binary column for each buffer that the codec makes. Neither compression nor padding to a
common size: the manifest knows where each batch's message lies, and each buffer in it, so one chunk is one ranged read,
and its buffers become tensors without parsing Arrow or copying. The file's footer is for other readers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import torch

from videox2l.errors import ArchiveError, CorruptDataError
from videox2l.kv.chunk import KV
from videox2l.kv.codecs import CodecError
from videox2l.kv.heads import HeadRange
from videox2l.store.arrow_file import ArrowFile, locate
from videox2l.store.documents import checksum
from videox2l.store.entries import ShardEntry, StoredKV
from videox2l.store.layout import Part
from videox2l.store.spec import IndexSpec

TARGET_BYTES: Mapping[Part, int] = {
    # One low chunk of a 7B model is 39 MiB and gets a shard of its own; small models share one among hundreds of
    # chunks, which saves an upload request each. A writer holds a few shards in memory while they upload, so larger
    # ones would cost memory and gain no bandwidth.
    "low": 64 * 2**20,
    # The high level is read whole: several GETs of this size at once are faster than one of everything.
    "high": 32 * 2**20,
    "prompt": 0,
}
"""A shard is closed before it grows past this, unless a single KV is larger."""


@dataclass(frozen=True)
class Shard:
    """A finished file: what the manifest says of it, and its bytes."""

    entry: ShardEntry
    data: bytes


class ShardBuilder:
    """Collects KVs into one file in memory, because an object must be complete before its single PUT.

    ``number`` is its place in the manifest's list of shards; ``head_ranges`` as in :class:`ShardEntry`.
    """

    def __init__(
        self, spec: IndexSpec, part: Part, number: int, attempt: str, name: str, head_ranges: tuple[HeadRange, ...]
    ) -> None:
        self.spec = spec
        self.part = part
        self.number = number
        self._attempt, self._name, self._head_ranges = attempt, name, head_ranges
        self._schema = _schema(spec, part)
        self._file = ArrowFile(self._schema)

    def has_room(self, kv: KV) -> bool:
        """Whether ``kv`` still fits below the target size. An empty shard takes anything."""
        return self._file.empty or self._file.size + kv.nbytes <= TARGET_BYTES[self.part]

    def add(self, kv: KV) -> StoredKV:
        """Encode ``kv`` (any device, any strides) into the file; the caller may change it afterwards."""
        codec = self.spec.codec(self.part)
        try:
            encoded = codec.encode(kv)
        except ValueError as error:
            raise ArchiveError(f"{codec.name} cannot store the {self.part} KVs: {error}. Store them raw.") from error
        arrays = [_one_row(encoded[name]) for name in self._schema.names]
        with self._file.add(arrays) as (offset, message):
            buffers = locate(message, self._schema)
            return StoredKV(kv.tokens, self.number, offset, len(message), checksum(message), buffers, kv.next_position)

    def finish(self) -> Shard:
        data = self._file.finish()
        entry = ShardEntry(self._attempt, self._name, self.part, len(data), checksum(data), self._head_ranges)
        return Shard(entry, data)


def decode(
    data: bytes | memoryview, stored: StoredKV, spec: IndexSpec, part: Part, where: str, found: str | None = None
) -> KV:
    """Verify the message ``data`` and turn it into tensors, without a copy where the codec allows: do not change them.

    ``found``: the checksum of ``data``, if it was taken already.

    :raises CorruptDataError: its length or checksum is not the manifest's, or it does not decode. ``where`` names file
        and chunk.
    """
    if len(data) != stored.length:
        raise CorruptDataError(
            f"{where}: {len(data)} bytes could be read where {stored.length} were written. "
            "The file is cut short or replaced; run `videox2l repair`, or ingest the video again."
        )
    if (found or checksum(data)) != stored.checksum:
        raise CorruptDataError(
            f"{where}: the checksum does not match, so the stored bytes changed. "
            "Nothing is answered from them; run `videox2l repair`, or ingest the video again."
        )
    view, codec = memoryview(data), spec.codec(part)
    names = codec.fields()
    try:
        if len(names) != len(stored.buffers):
            raise CodecError(f"{codec.name} has {len(names)} buffers, not {len(stored.buffers)}")
        fields = {
            name: view[offset : offset + length] for name, (offset, length) in zip(names, stored.buffers, strict=True)
        }
        shape = (spec.layers, spec.kv_heads, stored.tokens, spec.head_dim)
        kv = codec.decode(fields, shape, getattr(torch, spec.dtype))
    except CodecError as error:
        raise CorruptDataError(f"{where} is not what the manifest says ({error}). Ingest the video again.") from error
    return dataclasses.replace(kv, next_position=stored.next_position)


def _schema(spec: IndexSpec, part: Part) -> pa.Schema:
    codec = spec.codec(part)
    metadata = {
        "part": part,
        "codec": codec.name,
        "dtype": spec.dtype,
        "axes": "layers, kv_heads, tokens, head_dim",
        "layers": str(spec.layers),
        "kv_heads": str(spec.kv_heads),
        "head_dim": str(spec.head_dim),
        "rope": spec.rope,
    }
    fields = [pa.field(name, pa.large_binary(), nullable=False) for name in codec.fields()]
    return pa.schema(fields, metadata=metadata)


def _one_row(data: object) -> pa.Array:
    buffer = pa.py_buffer(data)
    offsets = pa.py_buffer(memoryview(bytes(8) + buffer.size.to_bytes(8, "little")))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, buffer])
