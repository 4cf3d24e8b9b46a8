"""Vectors of chunks beside their KVs: what comes back, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.unit.store.samples import every_storage, random_chunks, random_kv, spec, video
from tests.unit.store.samples import write_index as write_plain_index
from videox2l.errors import ArchiveFormatError, ConfigError, CorruptDataError
from videox2l.identity import RetrieverIdentity
from videox2l.store import Archive, IndexWriter, Manifest
from videox2l.store.retention import Expiry, expire
from videox2l.store.transfer import export_index, import_index
from videox2l.store.verify import verify

CHUNKS = random_chunks(5)
RETRIEVER = RetrieverIdentity("some/clip", "0" * 32, 6)
OTHER = dataclasses.replace(RETRIEVER, name="other/clip", fingerprint="1" * 32)


def vectors(number: int) -> np.ndarray:
    found = np.random.default_rng(number).normal(size=(1 + number % 3, 6)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def append(writer: IndexWriter, until: int, without: tuple[int, ...] = ()) -> None:
    for index in range(writer.chunks, until):
        known_by = None if index in without else vectors(index)
        writer.append(index, 10.0 * index, 10.0 * (index + 1), 10, CHUNKS[index], vectors=known_by)


def write(archive: Archive, without: tuple[int, ...] = ()) -> Manifest:
    with archive.create_index(video(), spec()) as writer:
        writer.retrieved_by(RETRIEVER)
        writer.put_prompt(random_kv(5))
        append(writer, 5, without)
        return writer.commit()


@every_storage
def test_round_trip(archive: Archive) -> None:
    write(archive)
    reader = archive.open_index(video().video_id)
    assert reader.manifest.retriever == RETRIEVER
    assert archive.videos()[0].indexes[0].retrieved_by == RETRIEVER
    for number, found in enumerate(reader.vectors()):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, vectors(number), atol=1e-3)  # stored in float16
    assert verify(archive.storage).ok


def test_an_index_without(archive: Archive) -> None:
    write_plain_index(archive)
    assert archive.videos()[0].indexes[0].retrieved_by is None
    with pytest.raises(ConfigError, match="--retriever and --replace"):
        archive.open_index(video().video_id).vectors()


def test_one_chunk_without_is_not_passed_over(archive: Archive) -> None:
    write(archive, without=(3,))
    with pytest.raises(ConfigError, match="--retriever and --replace"):
        archive.open_index(video().video_id).vectors()


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damage(local_archive: Archive, damage: str) -> None:
    manifest = write(local_archive)
    stored = manifest.chunks[2].vectors
    assert stored is not None
    file = Path(local_archive.url) / manifest.shard_path(stored.shard)
    data = bytearray(file.read_bytes())
    data[stored.offset] ^= 1
    file.unlink()
    if damage == "changed":
        file.write_bytes(data)
    with pytest.raises(CorruptDataError, match="vectors of chunk"):
        local_archive.open_index(video().video_id).vectors()


@pytest.mark.parametrize("changes", [{"shard": 0}, {"shard": 99}, {"offset": 2**40}])
def test_hostile(local_archive: Archive, changes: dict[str, int]) -> None:
    manifest = write(local_archive)
    stored = manifest.chunks[0].vectors
    assert stored is not None
    chunk = dataclasses.replace(manifest.chunks[0], vectors=dataclasses.replace(stored, **changes))
    forged = dataclasses.replace(manifest, chunks=(chunk, *manifest.chunks[1:]))
    with pytest.raises(ArchiveFormatError, match="vectors of chunk 0"):
        Manifest.from_json(forged.to_json(), "manifest")


def test_vectors_of_nobody(local_archive: Archive) -> None:
    forged = dataclasses.replace(write(local_archive), retriever=None)
    with pytest.raises(ArchiveFormatError, match="does not say whose"):
        Manifest.from_json(forged.to_json(), "manifest")


@pytest.mark.parametrize("wrong", [np.zeros((1, 5)), np.zeros(6), np.zeros((0, 6))], ids=str)
def test_a_writer_takes_no_other_shape(local_archive: Archive, wrong: np.ndarray) -> None:
    with local_archive.create_index(video(), spec()) as writer:
        writer.retrieved_by(RETRIEVER)
        writer.put_prompt(random_kv(5))
        with pytest.raises(ValueError, match="vectors of shape"):
            writer.append(0, 0.0, 1.0, 1, CHUNKS[0], vectors=wrong)


def test_resume_keeps_them_and_another_retriever_begins_anew(local_archive: Archive) -> None:
    killed = local_archive.create_index(video(), spec())
    killed.retrieved_by(RETRIEVER)
    killed.keep_journal(0)
    killed.put_prompt(random_kv(5))
    append(killed, 3)
    killed.suspend()
    [unfinished] = local_archive.unfinished(video(), spec())
    other = local_archive.create_index(video(), spec())
    other.retrieved_by(OTHER)
    assert not other.resume(unfinished)
    other.abort()
    with local_archive.create_index(video(), spec()) as writer:
        writer.retrieved_by(RETRIEVER)
        assert writer.resume(unfinished)
        append(writer, 5)
        writer.commit()
    found = local_archive.open_index(video().video_id).vectors()
    assert [len(each) for each in found] == [1, 2, 3, 1, 2]


def test_a_recording_goes_on_with_the_same_retriever_only(local_archive: Archive) -> None:
    manifest = write(local_archive)
    for other in (OTHER, None):
        with (
            local_archive.extend_index(manifest, video(), 3) as writer,
            pytest.raises(ConfigError, match="give the same one with --retriever"),
        ):
            writer.retrieved_by(other)
    with local_archive.extend_index(manifest, video(), 3) as writer:
        writer.retrieved_by(RETRIEVER)
        append(writer, 5)
        writer.commit()
    assert len(local_archive.open_index(video().video_id).vectors()) == 5


@pytest.mark.parametrize("change", ["without low KVs", "exported and imported"])
def test_they_stay_with_the_index(local_archive: Archive, tmp_path: Path, change: str) -> None:
    manifest, archive = write(local_archive), local_archive
    if change == "without low KVs":
        expire(local_archive, Expiry(manifest, "low", 0))
    else:
        archive = Archive.open(tmp_path / "elsewhere", create=True)
        export_index(local_archive, manifest, tmp_path / "holiday.zip")
        import_index(archive, tmp_path / "holiday.zip")
    reader = archive.open_index(video().video_id)
    assert reader.manifest.retriever == RETRIEVER
    assert [len(each) for each in reader.vectors()] == [1, 2, 3, 1, 2]
    assert verify(archive.storage).ok
