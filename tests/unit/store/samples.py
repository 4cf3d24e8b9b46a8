"""Small KVs, videos and indexes for tests of the store."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from videox2l.identity import VideoIdentity
from videox2l.kv.chunk import KV, LEVELS, ChunkKV, Level
from videox2l.store import Archive, IndexSpec, IndexWriter, Manifest
from videox2l.store.storage import Storage

LAYERS, KV_HEADS, HEAD_DIM = 3, 2, 8

SPEC = IndexSpec(
    model_fingerprint="5e" * 16,
    model={"name": "tiny", "layers": LAYERS},
    sampling={"fps": 1.0, "frames": None},
    compression={"low_ratio": 2, "high_ratio": 32},
    layers=LAYERS,
    kv_heads=KV_HEADS,
    head_dim=HEAD_DIM,
    dtype="float32",
)


every_storage = pytest.mark.parametrize("archive_url", ["local", "memory", "s3"], indirect=True)
"""For tests of what may differ on S3, which is slow to test."""


def spec(**changes: Any) -> IndexSpec:
    return dataclasses.replace(SPEC, **changes)


def video(name: str = "holiday.mp4", folder: str = "/videos") -> VideoIdentity:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return VideoIdentity(digest[:32], name, f"{folder}/{name}", 1234, digest)


def random_kv(tokens: int, dtype: str = "float32") -> KV:
    shape = (LAYERS, KV_HEADS, tokens, HEAD_DIM)
    return KV(torch.randn(shape).to(getattr(torch, dtype)), torch.randn(shape).to(getattr(torch, dtype)))


def random_chunks(count: int = 4, dtype: str = "float32") -> list[ChunkKV]:
    tokens: dict[Level, int] = {"low": 12, "high": 2}
    return [{level: random_kv(tokens[level], dtype) for level in LEVELS} for _ in range(count)]


def append_all(writer: IndexWriter, chunks: Sequence[ChunkKV], prompt: KV | None = None) -> None:
    writer.put_prompt(prompt or random_kv(5, writer.spec.dtype))
    for index, kvs in enumerate(chunks):
        writer.append(index, 10.0 * index, 10.0 * (index + 1), 10, kvs)


def write_index(
    archive: Archive, chunks: Sequence[ChunkKV] | None = None, name: str = "holiday.mp4", **changes: Any
) -> Manifest:
    wanted = spec(**changes)
    with archive.create_index(video(name), wanted) as writer:
        append_all(writer, chunks if chunks is not None else random_chunks(dtype=wanted.dtype))
        return writer.commit()


def shard_path(manifest: Manifest, name: str) -> str:
    """Where the shard ``name`` of an index lies in its archive."""
    [number] = [number for number, shard in enumerate(manifest.shards) if shard.name == name]
    return manifest.shard_path(number)


def assert_same(a: KV, b: KV) -> None:
    for left, right in ((a.keys_LHTD, b.keys_LHTD), (a.values_LHTD, b.values_LHTD)):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        # Bits, not values: NaN must survive too, and -0.0 is not 0.0.
        assert torch.equal(left.contiguous().view(torch.uint8), right.contiguous().view(torch.uint8))


def flip(archive: Archive, path: str, offset: int) -> None:
    """Change a bit of the byte there."""
    storage = Storage(archive.url)
    data = bytearray(storage.read(path))
    data[offset] ^= 0x10
    storage.write(path, bytes(data))
