"""An archive is read by its description alone: JSON, Arrow and XXH3, without any code of ours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import xxhash

from tests.unit.store.samples import append_all, random_chunks, random_kv, spec, video
from videox2l.kv.chunk import KV
from videox2l.store import Archive
from videox2l.video import thumbnail

# What a reader in another language needs to know; only the standard library and public packages from here …

ELEMENTS = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}


@dataclass
class ForeignReader:
    root: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, root: Path, video_id: str) -> ForeignReader:
        read_document(root / "archive.json")
        [path] = (root / "videos" / video_id).glob("*/manifest.json")
        manifest = read_document(path)
        assert path.parent.name == manifest["index_fp"]
        read_document(root / "models" / f"{manifest['spec']['model_fingerprint']}.json")
        return cls(root, manifest)

    def shard(self, number: int) -> bytes:
        shard, video_id = self.manifest["shards"][number], self.manifest["video"]["video_id"]
        index = self.root / "videos" / video_id / self.manifest["index_fp"]
        data = (index / "attempts" / shard["attempt"] / shard["name"]).read_bytes()
        assert len(data) == shard["size"]
        assert xxhash.xxh3_128_hexdigest(data) == shard["checksum"]
        return data

    def by_offset(self, stored: dict[str, Any]) -> list[np.ndarray]:
        """Keys and values from the stored KV's bytes alone."""
        message = self.shard(stored["shard"])[stored["offset"] : stored["offset"] + stored["length"]]
        assert xxhash.xxh3_128_hexdigest(message) == stored["checksum"]
        return [self.array(message[at : at + length], stored["tokens"]) for at, length in stored["buffers"]]

    def picture(self, stored: dict[str, Any]) -> bytes:
        """A JPEG, from its bytes alone."""
        jpeg = self.shard(stored["shard"])[stored["offset"] : stored["offset"] + stored["length"]]
        assert xxhash.xxh3_128_hexdigest(jpeg) == stored["checksum"]
        return jpeg

    def by_arrow(self, stored: dict[str, Any], batch: int) -> list[np.ndarray]:
        """The same by an Arrow library, which opens the shard as a file."""
        with pa.ipc.open_file(pa.BufferReader(self.shard(stored["shard"]))) as file:
            assert file.schema.names == ["keys", "values"]
            assert file.schema.metadata[b"dtype"].decode() == self.manifest["spec"]["dtype"]
            columns = file.get_batch(batch).columns
        return [self.array(column[0].as_py(), stored["tokens"]) for column in columns]

    def array(self, data: bytes, tokens: int) -> np.ndarray:
        spec = self.manifest["spec"]
        shape = (spec["layers"], spec["kv_heads"], tokens, spec["head_dim"])
        return np.frombuffer(data, ELEMENTS[spec["dtype"]]).reshape(shape)


def read_document(path: Path) -> dict[str, Any]:
    """The last two lines are the checksum of all bytes before them and a brace."""
    data = path.read_bytes()
    head, field, _ = data.rpartition(b'"checksum": ')
    assert field + _ == f'"checksum": "{xxhash.xxh3_128_hexdigest(head)}"\n}}\n'.encode()
    document = json.loads(data)
    assert document["format_version"] == 1
    return dict(document)


# … to here.


def bits(kv: KV) -> list[np.ndarray]:
    integer = {4: torch.int32, 2: torch.int16}[kv.keys_LHTD.dtype.itemsize]
    return [tensor.contiguous().view(integer).numpy() for tensor in (kv.keys_LHTD, kv.values_LHTD)]


def same(found: list[np.ndarray], kv: KV) -> bool:
    pairs = zip(found, bits(kv), strict=True)
    return all(np.array_equal(a.view(b.dtype), b) for a, b in pairs)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_read_by_description(local_archive: Archive, dtype: str) -> None:
    chunks, prompt = random_chunks(3, dtype), random_kv(5, dtype)
    with local_archive.create_index(video(), spec(dtype=dtype)) as writer:
        append_all(writer, chunks, prompt)
        writer.commit()
    reader = ForeignReader.open(Path(local_archive.url), video().video_id)
    assert same(reader.by_offset(reader.manifest["prompt"]), prompt)
    assert same(reader.by_arrow(reader.manifest["prompt"], 0), prompt)
    for entry, kvs in zip(reader.manifest["chunks"], chunks, strict=True):
        for level, kv in kvs.items():
            assert same(reader.by_offset(entry["levels"][level]), kv)
            assert same(reader.by_arrow(entry["levels"][level], entry["index"]), kv)


def test_pictures_by_description(local_archive: Archive) -> None:
    jpegs = [thumbnail(np.full((1, 24, 32, 3), shade, dtype=np.uint8)) for shade in (0, 100, 200)]
    with local_archive.create_index(video(), spec()) as writer:
        writer.put_prompt(random_kv(5))
        for index, (kvs, jpeg) in enumerate(zip(random_chunks(3), jpegs, strict=True)):
            writer.append(index, index, index + 1, 1, kvs, thumbnail=jpeg)
        writer.commit()
    reader = ForeignReader.open(Path(local_archive.url), video().video_id)
    assert [reader.picture(entry["thumbnail"]) for entry in reader.manifest["chunks"]] == jpegs


def test_catalog_by_description(local_archive: Archive) -> None:
    for name in ("holiday.mp4", "birthday.mp4"):
        metadata = {"camera": "Nord", "floor": 3}
        with local_archive.create_index(video(name), spec(), metadata=metadata) as writer:
            append_all(writer, random_chunks(3))
            writer.commit()
    root = Path(local_archive.url)
    for row in pq.read_table(root / "catalog").to_pylist():
        manifest = ForeignReader.open(root, row["video_id"]).manifest
        assert (row["name"], row["index_fp"]) == (manifest["video"]["name"], manifest["index_fp"])
        assert row["low_bytes"] == manifest["totals"]["low"]["bytes"]
        assert json.loads(row["sampling"]) == manifest["spec"]["sampling"]
        assert json.loads(row["metadata"]) == manifest["metadata"] == {"camera": "Nord", "floor": 3}
        assert json.loads(row["aliases"]) == manifest["aliases"]
    # A row's checksum is that of the file in which its digits are zeros.
    for path in (root / "catalog").glob("*.parquet"):
        digits = pq.read_metadata(path).metadata[b"checksum"]
        assert xxhash.xxh3_128_hexdigest(path.read_bytes().replace(digits, b"0" * 32, 1)).encode() == digits
