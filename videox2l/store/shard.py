"""Shards: Arrow IPC files with one record batch a KV, readable by any Arrow implementation.

A batch has two flat columns, ``keys`` and ``values``, each a [layers, KV heads, tokens, head dimension] tensor in C
order. Neither compression nor padding to a common size: the bytes of a batch's message, whose offset and length the
manifest knows, become tensors without a copy. So one chunk is one ranged read, and the file's footer is never needed.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import torch

from videox2l.errors import CorruptDataError
from videox2l.kv.chunk import KV
from videox2l.store.documents import checksum
from videox2l.store.layout import Part
from videox2l.store.manifest import ShardEntry, StoredKV
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

# Arrow has no bfloat16: its bits travel as unsigned integers and the true type stands in the metadata.
_ARROW_TYPES = {"float32": pa.float32(), "float16": pa.float16(), "bfloat16": pa.uint16()}


@dataclass(frozen=True)
class Shard:
    """A finished file: what the manifest says of it, and its bytes."""

    entry: ShardEntry
    data: bytes


class ShardBuilder:
    """Collects KVs into one file in memory, because an object must be complete before its single PUT."""

    def __init__(self, spec: IndexSpec, part: Part, name: str) -> None:
        self.spec = spec
        self.part = part
        self.name = name
        self._schema = _schema(spec, part)
        self._sink = io.BytesIO()
        self._writer = pa.ipc.new_file(self._sink, self._schema)
        self._empty = True

    def has_room(self, kv: KV) -> bool:
        """Whether ``kv`` still fits below the target size. An empty shard takes anything."""
        return self._empty or self._sink.tell() + kv.nbytes <= TARGET_BYTES[self.part]

    def add(self, kv: KV) -> StoredKV:
        """Copy ``kv`` (any device, any strides) into the file; the caller may change it afterwards."""
        arrays = [_to_arrow(tensor, self.spec.dtype) for tensor in (kv.keys_LHTD, kv.values_LHTD)]
        batch = pa.record_batch(arrays, schema=self._schema)
        self._writer.write_batch(batch)
        self._empty = False
        # The writer puts the file's header before the first batch, so the message is located from its end.
        length = pa.ipc.get_record_batch_size(batch)
        end = self._sink.tell()
        message = self._sink.getbuffer()[end - length : end]
        try:
            return StoredKV(kv.tokens, self.name, end - length, length, checksum(message))
        finally:
            message.release()  # a BytesIO with a buffer handed out cannot grow

    def finish(self) -> Shard:
        self._writer.close()
        data = self._sink.getvalue()
        return Shard(ShardEntry(self.name, self.part, len(data), checksum(data)), data)


def decode(data: bytes | memoryview, stored: StoredKV, spec: IndexSpec, part: Part, where: str) -> KV:
    """Verify the message ``data`` and view it as tensors, without a copy: treat them as read-only.

    :raises CorruptDataError: its length or checksum is not the manifest's, or it does not decode. ``where`` names file
        and chunk.
    """
    if len(data) != stored.length:
        raise CorruptDataError(
            f"{where}: {len(data)} bytes could be read where {stored.length} were written. "
            "The file is cut short or replaced; ingest the video again."
        )
    if checksum(data) != stored.checksum:
        raise CorruptDataError(
            f"{where}: the checksum does not match, so the stored bytes changed. "
            "Nothing is answered from them; ingest the video again."
        )
    try:
        batch = pa.ipc.read_record_batch(pa.py_buffer(data), _schema(spec, part))
        shape = (spec.layers, spec.kv_heads, stored.tokens, spec.head_dim)
        keys, values = (_to_torch(column, spec.dtype).reshape(shape) for column in batch.columns)
    except (pa.ArrowException, RuntimeError) as error:
        raise CorruptDataError(f"{where} is not what the manifest says ({error}). Ingest the video again.") from error
    return KV(keys, values)


def _schema(spec: IndexSpec, part: Part) -> pa.Schema:
    kind = _ARROW_TYPES[spec.dtype]
    metadata = {
        "part": part,
        "dtype": spec.dtype,
        "axes": "layers, kv_heads, tokens, head_dim",
        "layers": str(spec.layers),
        "kv_heads": str(spec.kv_heads),
        "head_dim": str(spec.head_dim),
        "rope": spec.rope,
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name in ("keys", "values")], metadata=metadata)


def _to_arrow(tensor: torch.Tensor, dtype: str) -> pa.Array:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    array = (flat.view(torch.uint16) if dtype == "bfloat16" else flat).numpy()
    return pa.Array.from_buffers(_ARROW_TYPES[dtype], array.size, [None, pa.py_buffer(array)])


def _to_torch(column: pa.Array, dtype: str) -> torch.Tensor:
    # DLPack takes Arrow's read-only memory as it is; torch.frombuffer would warn about it.
    flat = torch.from_dlpack(column)
    return flat.view(torch.bfloat16) if dtype == "bfloat16" else flat
