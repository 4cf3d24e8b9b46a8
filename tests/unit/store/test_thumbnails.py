"""Pictures of chunks: stored beside the KVs, found again through everything that happens to an index."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tests.unit.store.samples import assert_same, every_storage, random_chunks, random_kv, shard_path, spec, video
from tests.unit.store.samples import write_index as write_plain_index
from videox2l.errors import ArchiveFormatError, CorruptDataError
from videox2l.kv.chunk import ChunkKV
from videox2l.store import Archive, IndexWriter, Manifest, attachments
from videox2l.store.manifest import MAX_ATTACHMENT_BYTES
from videox2l.store.retention import Expiry, expire
from videox2l.store.sweep import collect, find_garbage
from videox2l.store.transfer import export_index, import_index
from videox2l.store.verify import verify
from videox2l.video import thumbnail

CHUNKS = random_chunks(5)


def picture(number: int) -> bytes:
    return thumbnail(np.full((1, 24, 32, 3), 10 * number, dtype=np.uint8))


def append(writer: IndexWriter, chunks: Sequence[ChunkKV], without: tuple[int, ...] = ()) -> None:
    for index in range(writer.chunks, len(chunks)):
        jpeg = None if index in without else picture(index)
        writer.append(index, 10.0 * index, 10.0 * (index + 1), 10, chunks[index], "", jpeg)


def write_index(archive: Archive, without: tuple[int, ...] = ()) -> Manifest:
    with archive.create_index(video(), spec()) as writer:
        writer.put_prompt(random_kv(5))
        append(writer, CHUNKS, without)
        return writer.commit()


def assert_pictures(archive: Archive, without: tuple[int, ...] = ()) -> None:
    """All there, as a new reader sees them, and the files are sound."""
    reader = archive.open_index(video().video_id)
    expected = [None if index in without else picture(index) for index in range(len(CHUNKS))]
    assert [reader.thumbnail(index) for index in range(len(CHUNKS))] == expected
    assert verify(archive.storage).ok


@every_storage
def test_round_trip(archive: Archive) -> None:
    manifest = write_index(archive, without=(2,))
    assert_pictures(archive, without=(2,))
    assert manifest.index_fp == spec().index_fp
    reader = archive.open_index(video().video_id)
    for number, kv in reader.low_many(range(5)).items():
        assert_same(kv, CHUNKS[number]["low"])
    for number in (-1, 5):
        with pytest.raises(IndexError, match="chunks 0 to 4"):
            reader.thumbnail(number)


def test_an_index_without(archive: Archive) -> None:
    manifest = write_plain_index(archive)
    assert not [entry for entry in manifest.shards if entry.part == "thumbnails"]
    assert archive.open_index(video().video_id).thumbnail(0) is None


def test_a_manifest_from_before_there_were_any(local_archive: Archive) -> None:
    from videox2l.store.documents import seal, unseal

    manifest = write_plain_index(local_archive)
    document = unseal(manifest.to_json(), "manifest")
    for chunk in document["chunks"]:
        del chunk["thumbnail"]
    assert Manifest.from_json(seal(document), "manifest") == manifest


def test_several_files(local_archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments, "_TARGET_BYTES", 2 * len(picture(0)) + 1500)
    manifest = write_index(local_archive)
    assert len([entry for entry in manifest.shards if entry.part == "thumbnails"]) > 1
    assert_pictures(local_archive)


def test_any_arrow_program_reads_them(local_archive: Archive) -> None:
    data = local_archive.storage.read(shard_path(write_index(local_archive, without=(1,)), "thumbnails-00000.arrow"))
    table = pa.ipc.open_file(pa.BufferReader(data)).read_all()
    assert table.to_pydict() == {"chunk": [0, 2, 3, 4], "jpeg": [picture(index) for index in (0, 2, 3, 4)]}


@pytest.mark.parametrize("damage", ["changed", "cut", "missing"])
def test_damage(local_archive: Archive, damage: str) -> None:
    manifest = write_index(local_archive)
    stored, path = manifest.chunks[3].thumbnail, shard_path(manifest, "thumbnails-00000.arrow")
    assert stored is not None
    file = Path(local_archive.url) / path
    data = bytearray(file.read_bytes())
    data[stored.offset + stored.length // 2] ^= 1
    file.unlink()
    if damage != "missing":
        file.write_bytes(data if damage == "changed" else data[: stored.offset + 5])
    reader = local_archive.open_index(video().video_id)
    with pytest.raises(CorruptDataError, match=r"thumbnail of chunk 3.*videox2l repair"):
        reader.thumbnail(3)
    assert_same(reader.low(3), CHUNKS[3]["low"])
    [found] = verify(local_archive.storage).damaged
    assert (found.path, found.index) == (path, (video().video_id, manifest.index_fp))


@pytest.mark.parametrize("jpeg", [b"", b"<svg/>", b"\xff\xd8\xff" + bytes(MAX_ATTACHMENT_BYTES)])
def test_what_is_no_thumbnail(local_archive: Archive, jpeg: bytes) -> None:
    with local_archive.create_index(video(), spec()) as writer:
        writer.put_prompt(random_kv(5))
        with pytest.raises(ValueError, match="thumbnail"):
            writer.append(0, 0, 10, 10, CHUNKS[0], "", jpeg)
        append(writer, CHUNKS)
        writer.commit()
    assert_pictures(local_archive)


@pytest.mark.parametrize(
    "changes",
    [{"shard": 99}, {"shard": 0}, {"offset": 2**40}, {"length": MAX_ATTACHMENT_BYTES + 1}],
    ids=lambda changes: next(iter(changes)),
)
def test_hostile(local_archive: Archive, changes: dict[str, int]) -> None:
    manifest = write_index(local_archive)
    stored = manifest.chunks[0].thumbnail
    assert stored is not None
    chunk = dataclasses.replace(manifest.chunks[0], thumbnail=dataclasses.replace(stored, **changes))
    forged = dataclasses.replace(manifest, chunks=(chunk, *manifest.chunks[1:]))
    with pytest.raises(ArchiveFormatError, match="thumbnails of chunk 0"):
        Manifest.from_json(forged.to_json(), "manifest")


def test_resume(local_archive: Archive) -> None:
    """From the journal of a writer that was killed; both attempts' pictures are in what is committed."""
    killed = local_archive.create_index(video(), spec())
    killed.keep_journal(0)
    killed.put_prompt(random_kv(5))
    append(killed, CHUNKS[:3])
    killed.suspend()
    [unfinished] = local_archive.unfinished(video(), spec())
    with local_archive.create_index(video(), spec()) as writer:
        assert writer.resume(unfinished)
        append(writer, CHUNKS)
        manifest = writer.commit()
    assert {entry.attempt for entry in manifest.shards if entry.part == "thumbnails"} == {
        killed.attempt,
        writer.attempt,
    }
    sweep(local_archive)
    assert_pictures(local_archive)


def test_a_recording_that_has_grown(local_archive: Archive) -> None:
    with local_archive.create_index(video(), spec()) as writer:
        writer.put_prompt(random_kv(5))
        append(writer, CHUNKS[:3])
        short = writer.commit()
    grown = dataclasses.replace(video(), sha256="1f" * 32)
    with local_archive.extend_index(short, grown, 2) as writer:
        append(writer, CHUNKS)
        writer.commit()
    sweep(local_archive)
    assert_pictures(local_archive)


def test_without_low_kvs(local_archive: Archive) -> None:
    manifest = write_index(local_archive)
    expire(local_archive, Expiry(manifest, "low", 0))
    sweep(local_archive)
    assert_pictures(local_archive)


def test_export_and_import(local_archive: Archive, tmp_path: Path) -> None:
    export_index(local_archive, write_index(local_archive), tmp_path / "holiday.zip")
    elsewhere = Archive.open(tmp_path / "elsewhere", create=True)
    import_index(elsewhere, tmp_path / "holiday.zip")
    assert_pictures(elsewhere)


def test_the_middle_frame_is_shown() -> None:
    """Its longer side has at most 160 pixels, and small frames are not blown up."""
    frames = np.zeros((3, 240, 480, 3), dtype=np.uint8)
    frames[1, :, :, 0] = 200
    with Image.open(io.BytesIO(thumbnail(frames))) as image:
        assert (image.format, image.size) == ("JPEG", (160, 80))
        assert np.abs(np.asarray(image, dtype=int) - [200, 0, 0]).max() < 8
    with Image.open(io.BytesIO(thumbnail(frames[:, :24, :32]))) as image:
        assert image.size == (32, 24)


def test_noise_fits() -> None:
    """Nothing that a camera shows makes a JPEG larger than noise does."""
    noise = np.random.default_rng(0).integers(0, 256, (1, 160, 160, 3), dtype=np.uint8)
    assert len(thumbnail(noise)) < MAX_ATTACHMENT_BYTES / 2


def sweep(archive: Archive) -> None:
    """As `gc` does long after the last commit."""
    collect(archive.storage, find_garbage(archive.storage, now=datetime.now(UTC) + timedelta(days=3)))
