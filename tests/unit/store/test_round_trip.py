"""What is written comes back bit for bit, on every storage."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.unit.store.samples import (
    HEAD_DIM,
    KV_HEADS,
    LAYERS,
    append_all,
    assert_same,
    every_storage,
    random_chunks,
    random_kv,
    shard_path,
    spec,
    video,
    write_index,
)
from videox2l.errors import ArchiveError
from videox2l.kv.chunk import KV
from videox2l.kv.codecs import CODECS
from videox2l.store import DTYPES, Archive
from videox2l.store.verify import verify_index


@pytest.mark.parametrize("dtype", DTYPES)
@every_storage
def test_bit_exact(archive: Archive, dtype: str) -> None:
    chunks, prompt = random_chunks(5, dtype), random_kv(7, dtype)
    chunks[2]["low"].keys_LHTD[0, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), -0.0])
    with archive.create_index(video(), spec(dtype=dtype)) as writer:
        append_all(writer, chunks, prompt)
        manifest = writer.commit()
    reader = archive.open_index("holiday.mp4")
    assert reader.manifest == manifest
    assert_same(reader.prompt(), prompt)
    for stored, kvs in zip(reader.high(), chunks, strict=True):
        assert_same(stored, kvs["high"])
    for index, kv in reader.low_many([4, 0, 2]).items():
        assert_same(kv, chunks[index]["low"])
    assert_same(reader.low(1), chunks[1]["low"])
    assert [(chunk.start_s, chunk.end_s, chunk.frames) for chunk in manifest.chunks][1] == (10.0, 20.0, 10)
    assert not verify_index(reader.storage, reader.manifest)


@every_storage
def test_no_tokens_and_odd_strides(archive: Archive) -> None:
    strided = torch.randn(KV_HEADS, 6, HEAD_DIM, LAYERS).permute(3, 0, 1, 2).requires_grad_()
    assert not strided.is_contiguous()
    kvs = {"low": KV(strided, strided * 2), "high": random_kv(0)}
    with archive.create_index(video(), spec()) as writer:
        append_all(writer, [kvs], prompt=random_kv(0))
        writer.commit()
    reader = archive.open_index("holiday.mp4")
    assert reader.prompt().tokens == 0
    assert_same(reader.high()[0], random_kv(0))
    assert_same(reader.low(0), KV(strided.detach(), (strided * 2).detach()))


def test_append_copies(archive: Archive) -> None:
    kv = random_kv(4)
    before = KV(kv.keys_LHTD.clone(), kv.values_LHTD.clone())
    with archive.create_index(video(), spec()) as writer:
        writer.put_prompt(random_kv(1))
        writer.append(0, 0, 1, 1, {"low": kv, "high": kv})
        kv.keys_LHTD.zero_()
        writer.commit()
    assert_same(archive.open_index("holiday.mp4").low(0), before)


def test_bytes_read(archive: Archive) -> None:
    manifest = write_index(archive)
    reader = archive.open_index("holiday.mp4")
    assert reader.bytes_read == {"prompt": 0, "low": 0, "high": 0}
    reader.low(2)
    reader.high()
    reader.prompt()
    assert reader.bytes_read["low"] == manifest.chunks[2].levels["low"].length
    assert reader.bytes_read["high"] == manifest.totals["high"].bytes
    assert reader.bytes_read["prompt"] == manifest.prompt.length


def test_no_such_chunk(archive: Archive) -> None:
    write_index(archive)
    with pytest.raises(IndexError, match="4 chunks"):
        archive.open_index("holiday.mp4").low(4)


def test_shards_are_arrow_files(local_archive: Archive) -> None:
    chunks = random_chunks(3, "bfloat16")
    manifest = write_index(local_archive, chunks, dtype="bfloat16")
    for entry in manifest.shards:
        path = Path(local_archive.url, shard_path(manifest, entry.name))
        assert path.stat().st_size == entry.size
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            assert file.schema.metadata[b"dtype"] == b"bfloat16"
            if entry.part == "low":
                assert file.num_record_batches == 3
                [values] = file.get_batch(1).column("values").to_pylist()
                bits = torch.frombuffer(bytearray(values), dtype=torch.bfloat16)
                assert torch.equal(bits.reshape(LAYERS, KV_HEADS, 12, HEAD_DIM), chunks[1]["low"].values_LHTD)


def test_catalog_is_a_table(local_archive: Archive) -> None:
    write_index(local_archive)
    write_index(local_archive, name="other.mp4")
    table = pq.read_table(Path(local_archive.url) / "catalog")
    assert sorted(table["name"].to_pylist()) == ["holiday.mp4", "other.mp4"]
    assert table["duration_s"].to_pylist() == [40.0, 40.0]


@pytest.mark.parametrize(("low", "high"), [(name, name) for name in sorted(CODECS)] + [("int4", "squeeze")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_codecs(local_archive: Archive, low: str, high: str, dtype: str) -> None:
    chunks, prompt = random_chunks(3, dtype), random_kv(5, dtype)
    with local_archive.create_index(video(), spec(dtype=dtype, codecs={"low": low, "high": high})) as writer:
        append_all(writer, chunks, prompt)
        writer.commit()
    reader = Archive.open(local_archive.url).open_index("holiday.mp4")  # which says by itself how it is stored
    assert reader.manifest.spec.codecs == {"low": low, "high": high}
    assert_same(reader.prompt(), prompt)
    stored = {"low": [reader.low(chunk) for chunk in range(3)], "high": reader.high()}
    for level, name in (("low", low), ("high", high)):
        for found, kvs in zip(stored[level], chunks, strict=True):
            assert_same(found, expected(kvs[level], name))
    assert not verify_index(reader.storage, reader.manifest)


def expected(kv: KV, name: str) -> KV:
    """What a codec alone makes of ``kv``."""
    codec = CODECS[name]
    if codec.lossless:
        return kv
    fields = {field: memoryview(data) for field, data in codec.encode(kv).items()}
    return codec.decode(fields, tuple(kv.keys_LHTD.shape), kv.keys_LHTD.dtype)


def test_what_a_codec_cannot_store_is_said_at_once(local_archive: Archive) -> None:
    kvs = random_chunks(1)[0]
    kvs["low"].keys_LHTD[0, 0, 0, 0] = torch.nan
    with (
        local_archive.create_index(video(), spec(codecs={"low": "int8", "high": "raw"})) as writer,
        pytest.raises(ArchiveError, match="int8 cannot store the low KVs"),
    ):
        writer.append(0, 0.0, 1.0, 1, kvs)
    assert local_archive.videos() == []
