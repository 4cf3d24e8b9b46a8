"""Documents and manifests survive their own notation, and notice any change of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.store.samples import video
from videox2l.errors import ArchiveFormatError, CorruptDataError
from videox2l.kv.chunk import LEVELS
from videox2l.kv.codecs import CODECS
from videox2l.kv.heads import head_ranges
from videox2l.store import ChunkEntry, IndexSpec, Manifest, ShardEntry, StoredKV
from videox2l.store.documents import seal, seal_line, unseal, unseal_line

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
hexadecimal = st.text("0123456789abcdef", min_size=32, max_size=32)
counts = st.integers(0, 2**32)
times = st.floats(0, 1e7, allow_nan=False)
values = st.one_of(st.none(), st.booleans(), counts, st.floats(allow_nan=False, allow_infinity=False), texts)
documents = st.dictionaries(texts, st.one_of(values, st.lists(values, max_size=3)), max_size=4)
attempts = st.from_regex(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{12}", fullmatch=True)
moments = st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat())
specs = st.builds(
    IndexSpec,
    hexadecimal,
    documents,
    documents,
    documents,
    *(st.integers(1, 64) for _ in range(3)),
    decode=documents,
    dtype=st.sampled_from(["float32", "bfloat16"]),
    codecs=st.fixed_dictionaries({level: st.sampled_from(sorted(CODECS)) for level in LEVELS}),
)
PARTS = ("prompt", *LEVELS)
SHARDS = ("prompt.arrow", "low-00000.arrow", "high-123456789.arrow")


def stored(shard: int) -> st.SearchStrategy[StoredKV]:
    buffers = st.tuples(st.integers(0, 2**10).map(lambda number: 8 * number), st.integers(0, 2**10))
    length = st.integers(2**14, 2**30)
    return st.builds(
        StoredKV, st.integers(0, 2), st.just(shard), counts, length, hexadecimal, st.lists(buffers).map(tuple)
    )


chunk_fields = st.tuples(times, times, counts, *(stored(1 + number) for number in range(len(LEVELS))), texts)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    sizes = st.integers(2**32 + 2**30, 5 * 2**30)
    spec = draw(specs)
    divisors = [count for count in range(1, spec.kv_heads + 1) if spec.kv_heads % count == 0]
    shards = [
        ShardEntry(
            draw(attempts),
            name,
            part,  # type: ignore[arg-type]
            draw(sizes),
            draw(hexadecimal),
            head_ranges(spec.kv_heads, draw(st.sampled_from(divisors))),
        )
        for name, part in zip(SHARDS, PARTS, strict=True)
    ]
    chunks = []
    for index, (begin, length, frames, low, high, checksum) in enumerate(draw(st.lists(chunk_fields, max_size=3))):
        levels = {"low": low, "high": high}
        chunks.append(ChunkEntry(index, begin, begin + length, frames, levels, checksum))  # type: ignore[arg-type]
    return Manifest(
        video=video(),
        spec=spec,
        prompt=draw(stored(0)),
        chunks=tuple(chunks),
        shards=tuple(shards),
        attempt=draw(attempts),
        software=draw(st.dictionaries(texts, texts, max_size=2)),
        created=draw(moments),
        recorded_at=draw(st.none() | moments),
        replaces=tuple(draw(st.lists(attempts, max_size=2))),
        dropped=draw(st.dictionaries(st.sampled_from(LEVELS), moments)),
    )


@settings(max_examples=25, deadline=None)
@given(manifests())
def test_manifest_round_trip(manifest: Manifest) -> None:
    found = Manifest.from_json(manifest.to_json(), "manifest")
    assert found == manifest
    assert found.index_fp == manifest.spec.index_fp


@settings(max_examples=50, deadline=None)
@given(documents)
def test_document_round_trip(document: dict[str, object]) -> None:
    data = seal(document)
    assert unseal(data, "document") == {"format_version": 1, **document}
    assert json.loads(data)["checksum"] in data.decode().splitlines()[-2]
    assert unseal_line(seal_line(document).removesuffix(b"\n"), "line") == document
    assert seal_line(document).count(b"\n") == 1


DOCUMENT = {"name": "ü \u2028", "list": [1, {"nested": [2.5, None]}], "empty": [], "checksums": '"checksum": "00"'}


@pytest.mark.parametrize("flip", [1 << bit for bit in range(8)])
def test_every_bit_of_a_document_counts(flip: int) -> None:
    good = seal(DOCUMENT)
    for offset in range(len(good)):
        bad = bytearray(good)
        bad[offset] ^= flip
        with pytest.raises((CorruptDataError, ArchiveFormatError)):
            unseal(bytes(bad), "document")


@pytest.mark.parametrize("flip", [1 << bit for bit in range(8)])
def test_every_bit_of_a_line_counts(flip: int) -> None:
    good = seal_line(DOCUMENT).removesuffix(b"\n")
    for offset in range(len(good)):
        bad = bytearray(good)
        bad[offset] ^= flip
        with pytest.raises(CorruptDataError):
            unseal_line(bytes(bad), "line")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\n",
        lambda data: b" " + data,
        lambda data: data + data,
        lambda data: data.replace(b"}", b"}\r"),
        lambda data: data.replace(b": ", b":"),
    ],
)
def test_white_space_counts(change: object) -> None:
    with pytest.raises(CorruptDataError):
        unseal(change(seal(DOCUMENT)), "document")  # type: ignore[operator]
    with pytest.raises(CorruptDataError):
        unseal_line(change(seal_line(DOCUMENT).rstrip(b"\n")), "line")  # type: ignore[operator]
