"""The asynchronous reader gives what the blocking one gives, tensors and errors alike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.unit.store.samples import assert_same, random_chunks, write_index
from videox2l.errors import CorruptDataError
from videox2l.store import Archive, IndexReader
from videox2l.store.async_reader import AsyncIndexReader, BackgroundFetch
from videox2l.store.fetch import Fetcher
from videox2l.store.manifest import Manifest

T = TypeVar("T")


def read(archive: Archive, manifest: Manifest, what: Callable[[AsyncIndexReader], Awaitable[T]]) -> T:
    async def run() -> T:
        fetcher = Fetcher(archive.storage)
        try:
            return await what(AsyncIndexReader(fetcher, manifest))
        finally:
            await fetcher.aclose()

    return asyncio.run(run())


def spoil(archive: Archive, manifest: Manifest, chunk: int) -> None:
    """Change one byte of a chunk's low KVs."""
    stored = manifest.chunks[chunk].levels["low"]
    path = Path(archive.url) / manifest.shard_path(stored.shard)
    data = bytearray(path.read_bytes())
    data[stored.offset + stored.length // 2] ^= 1
    path.write_bytes(data)


def test_reads_what_was_written(archive: Archive) -> None:
    chunks = random_chunks(5)
    manifest = write_index(archive, chunks)
    high = read(archive, manifest, lambda reader: reader.high())
    for kv, chunk in zip(high, chunks, strict=True):
        assert_same(kv, chunk["high"])
    some = read(archive, manifest, lambda reader: reader.high([3, 1]))
    assert_same(some[0], chunks[3]["high"])
    assert_same(some[1], chunks[1]["high"])
    low = read(archive, manifest, lambda reader: reader.low_many([4, 0, 4]))
    assert list(low) == [4, 0]
    assert_same(low[4], chunks[4]["low"])
    prompt = read(archive, manifest, lambda reader: reader.prompt())
    assert_same(prompt, IndexReader(archive.storage, manifest).prompt())


def test_a_damaged_chunk_is_reported_and_the_others_are_read(local_archive: Archive) -> None:
    chunks = random_chunks(3)
    manifest = write_index(local_archive, chunks)
    spoil(local_archive, manifest, 1)
    found = read(local_archive, manifest, lambda reader: reader.low_found([0, 1, 2]))
    assert set(found.found) == {0, 2}
    assert "checksum" in found.missing[1]
    with pytest.raises(CorruptDataError, match="chunk 1"):
        read(local_archive, manifest, lambda reader: reader.low_many([0, 1, 2]))


def test_chunks_that_do_not_exist(local_archive: Archive) -> None:
    manifest = write_index(local_archive)
    with pytest.raises(IndexError):
        read(local_archive, manifest, lambda reader: reader.low_found([99]))


def test_threads_read_through_a_fetcher_in_the_background(local_archive: Archive) -> None:
    chunks = random_chunks(3)
    manifest = write_index(local_archive, chunks)
    with BackgroundFetch(Fetcher(local_archive.storage)) as fetch:
        reader = IndexReader(local_archive.storage, manifest, fetch)
        assert_same(reader.low(2), chunks[2]["low"])
        for number in range(len(manifest.shards)):
            (Path(local_archive.url) / manifest.shard_path(number)).unlink()
        with pytest.raises(CorruptDataError, match="missing"):
            reader.high()
