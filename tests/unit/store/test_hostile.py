"""Forged and broken documents and shards: nothing but our own errors, no memory to speak of, no path outside."""

from __future__ import annotations

import copy
import dataclasses
import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.store.samples import random_chunks, write_index
from videox2l.errors import ArchiveFormatError, VideoX2LError
from videox2l.kv.codecs import CODECS
from videox2l.store import Archive, IndexReader, Manifest
from videox2l.store.catalog import CatalogRow, from_parquet, to_parquet
from videox2l.store.documents import checksum, seal, seal_line, unseal, unseal_line
from videox2l.store.shard import decode
from videox2l.store.spec import ROPE_CONVENTION, ROPE_IN_PLACE
from videox2l.store.sweep import find_garbage
from videox2l.store.verify import verify

MEMORY = 8 * 2**20

fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
numbers = st.sampled_from([-1, 0, 1, 7, 8, 2**31, 2**53, 2**62, 2**63, 2**64, 10**400, -(10**400)])
odd = st.one_of(
    numbers,
    st.sampled_from(["", "../../etc/passwd", "/etc/passwd", "..", "low-00000.arrow/../x", "\x00", "a" * 100_000]),
    st.sampled_from([None, True, False, 1e308, -0.0, 0.5, [], {}, [[]], [[0, 2**62]], [[-8, 8]], [[0]], {"a": {}}]),
)


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    torch_and_arrow = pa.total_allocated_bytes()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MEMORY
        assert pa.total_allocated_bytes() - torch_and_arrow < MEMORY
    finally:
        tracemalloc.stop()


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a document has values, whole branches included."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(document: dict[str, Any], path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> dict[str, Any]:
    document = copy.deepcopy(document)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return document


def put(value: Any) -> Callable[[Any, Any], None]:
    def change(parent: Any, key: Any) -> None:
        parent[key] = value

    return change


def drop(parent: Any, key: Any) -> None:
    del parent[key]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, Manifest, dict[str, Any]]:
    archive = Archive.open(tmp_path_factory.mktemp("hostile") / "archive", create=True)
    manifest = write_index(archive, random_chunks(2))
    document = json.loads(manifest.to_json())
    for name in ("checksum", "format_version"):
        del document[name]
    return archive, manifest, document


Stored = tuple[Archive, Manifest, dict[str, Any]]


def use(archive: Archive, manifest: Manifest) -> None:
    """Read everything that a manifest promises, whatever it is."""
    root = archive.url + "/videos/"
    assert all(f"{archive.url}/{manifest.shard_path(n)}".startswith(root) for n in range(len(manifest.shards)))
    assert ".." not in "".join(manifest.shard_path(n) for n in range(len(manifest.shards)))
    reader = IndexReader(archive.storage, manifest)
    for read in (reader.prompt, reader.high, lambda: reader.low_found(range(len(manifest.chunks)))):
        try:
            read()
        except VideoX2LError:
            continue


@fuzz
@given(data=st.data(), value=odd)
def test_forged_manifest(stored: Stored, data: st.DataObject, value: Any) -> None:
    archive, _, document = stored
    path = data.draw(st.sampled_from(sorted(places(document), key=repr)))
    forged = seal(changed(document, path, data.draw(st.sampled_from([put(value), drop]))))
    with little_memory():
        try:
            manifest = Manifest.from_json(forged, "manifest")
        except VideoX2LError:
            return
        use(archive, manifest)
        try:
            CatalogRow.of(manifest)
            archive_of_one(archive, manifest, forged)
        except VideoX2LError:
            return


def archive_of_one(archive: Archive, manifest: Manifest, forged: bytes) -> None:
    """What looks at whole archives does not stumble over the forged one."""
    good = archive.storage.read(manifest.path) if archive.storage.exists(manifest.path) else None
    archive.storage.write(manifest.path, forged)
    try:
        archive.videos()
        verify(archive.storage)
        find_garbage(archive.storage)
    finally:
        if good is None:
            archive.storage.delete_folder(manifest.path.rpartition("/")[0])
        else:
            archive.storage.write(manifest.path, good)


@fuzz
@given(
    tokens=st.sampled_from([0, 5, 6, 2**20, 2**40, 2**62]),
    buffers=st.lists(st.tuples(numbers, numbers) | st.tuples(st.integers(0, 900), st.integers(0, 900)), max_size=6),
    message=st.binary(max_size=900),
    codec=st.sampled_from(sorted(CODECS)),
    vouched=st.booleans(),
)
def test_forged_message(
    stored: Stored, tokens: int, buffers: list[tuple[int, int]], message: bytes, codec: str, vouched: bool
) -> None:
    _, manifest, document = stored
    prompt = {
        **document["prompt"],
        "tokens": tokens,
        "offset": 0,
        "length": len(message),
        "checksum": checksum(message) if vouched else "0" * 32,
        "buffers": [list(pair) for pair in buffers],
    }
    level = {**prompt, "shard": document["chunks"][0]["levels"]["low"]["shard"]}
    chunk = {**document["chunks"][0], "levels": {**document["chunks"][0]["levels"], "low": level}}
    codecs = {"low": codec, "high": "raw"}
    forged_spec = {**document["spec"], "codecs": codecs}
    forged = {
        **document,
        "spec": forged_spec,
        "index_fp": dataclasses.replace(manifest.spec, codecs=codecs).index_fp,
        "chunks": [chunk, document["chunks"][1]],
    }
    with little_memory():
        try:
            found = Manifest.from_json(seal(forged), "manifest")
            decode(message, found.chunks[0].levels["low"], found.spec, "low", "message")
        except VideoX2LError:
            return


@fuzz
@given(st.binary(max_size=400))
def test_arbitrary_bytes(data: bytes) -> None:
    for read in (
        lambda: unseal(data, "document"),
        lambda: unseal_line(data, "line"),
        lambda: Manifest.from_json(data, "manifest"),
        lambda: unseal(seal({}) + data, "document"),
    ):
        try:
            assert read()
        except VideoX2LError:
            continue
    assert from_parquet(data) is None


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a": ' * 200_000,
        b'{"format_version": NaN}',
        b'{"format_version": Infinity}',
        b'{"format_version": 1' + b"0" * 5000 + b"}",
        b'{"format_version": 1e999}',
        b'{"format_version": "1"}',
        b'{"format_version": true}',
        b"null",
        b"\xff\xfe",
        b'"\\ud800"',
    ],
)
def test_odd_json(body: bytes) -> None:
    for data in (body, body + f'"checksum": "{checksum(body)}"\n}}\n'.encode()):
        with pytest.raises(VideoX2LError):
            unseal(data, "document")
    line = seal_line({"x": 1})
    sealed = body + f'"checksum": "{checksum(body)}"}}'.encode()
    assert unseal_line(line.rstrip(b"\n"), "line") == {"x": 1}
    with pytest.raises(VideoX2LError):
        unseal_line(sealed, "line")


@fuzz
@given(data=st.data())
def test_forged_row(stored: Stored, data: st.DataObject) -> None:
    good = bytearray(to_parquet(CatalogRow.of(stored[1])))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    end = data.draw(st.integers(0, len(good)))
    bad = bytes(good[:end])
    with little_memory():
        assert from_parquet(bad) is None


@fuzz
@given(st.binary(max_size=200), st.integers(0, 200))
def test_forged_row_with_a_checksum_that_fits(stored: Stored, junk: bytes, keep: int) -> None:
    zeros = b"0" * 32
    good = to_parquet(CatalogRow.of(stored[1]))
    written = pq.read_metadata(pa.BufferReader(good)).metadata[b"checksum"]
    place = min(keep, len(good) - len(junk))
    bad = good.replace(written, zeros, 1)
    bad = bad[:place] + junk + bad[place + len(junk) :]
    bad = bad.replace(zeros, checksum(bad).encode(), 1)
    with little_memory():
        found = from_parquet(bad)
    assert found is None or isinstance(found, CatalogRow)


@pytest.mark.parametrize(
    "retriever", ["{", "[]", "null", "7", '{"name": "own"}', '{"name": 7, "fingerprint": "", "x": 1}']
)
def test_a_row_of_an_odd_retriever(stored: Stored, retriever: str) -> None:
    row = dataclasses.replace(CatalogRow.of(stored[1]), retriever=retriever)
    assert from_parquet(to_parquet(row)) is None


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_sizes_that_only_the_manifest_claims(local_archive: Archive, codec: str) -> None:
    manifest = write_index(local_archive, codecs={"low": codec, "high": codec})
    document = json.loads(manifest.to_json())
    for tokens in (13, 10**6, 2**40, 2**62):
        forged = changed(document, ("chunks", 0, "levels", "low", "tokens"), put(tokens))
        for name in ("checksum", "format_version"):
            del forged[name]
        with little_memory(), pytest.raises(VideoX2LError):
            IndexReader(local_archive.storage, Manifest.from_json(seal(forged), "manifest")).low(0)


@pytest.mark.parametrize(("rope", "position"), [(None, 5), ("after", None), ("after", 2**22 + 1), ("after", 2**62)])
def test_positions_that_do_not_go_with_the_keys(local_archive: Archive, rope: str | None, position: int | None) -> None:
    """``after``: keys stored after RoPE, each KV then says where text behind it begins."""
    manifest = write_index(local_archive)
    right = 7 if rope else None
    spec = dataclasses.replace(manifest.spec, rope=ROPE_IN_PLACE if rope else ROPE_CONVENTION)

    def placed(position: int | None) -> Manifest:
        chunks = [
            dataclasses.replace(
                chunk, levels={k: dataclasses.replace(kv, next_position=right) for k, kv in chunk.levels.items()}
            )
            for chunk in manifest.chunks
        ]
        prompt = dataclasses.replace(manifest.prompt, next_position=position)
        return dataclasses.replace(manifest, spec=spec, prompt=prompt, chunks=tuple(chunks))

    Manifest.from_json(placed(right).to_json(), "manifest")
    with pytest.raises(ArchiveFormatError, match="do not go together"):
        Manifest.from_json(placed(position).to_json(), "manifest")
