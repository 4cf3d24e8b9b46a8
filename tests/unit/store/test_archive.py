"""An archive is opened, and an index of it: the one that was asked for, or a message that says why none is."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from tests.unit.store.samples import every_storage, flip, random_chunks, spec, video, write_index
from videox2l.errors import ArchiveNotFoundError, CorruptDataError, FingerprintMismatchError
from videox2l.store import Archive, layout


def test_damaged_archive_document(archive: Archive) -> None:
    flip(archive, layout.ARCHIVE, 0)
    with pytest.raises(CorruptDataError, match=r"archive\.json is damaged"):
        Archive.open(archive.url)


@every_storage
def test_no_archive(archive_url: str) -> None:
    with pytest.raises(ArchiveNotFoundError, match="is no archive"):
        Archive.open(archive_url)


@every_storage
def test_archive_pickles(archive: Archive) -> None:
    write_index(archive)
    copy = pickle.loads(pickle.dumps(archive))
    assert copy.url == archive.url
    assert copy.open_index("holiday.mp4").prompt().tokens == 5


def test_an_index_is_found_however_it_is_encoded(local_archive: Archive) -> None:
    manifest = write_index(local_archive, codecs={"low": "int8", "high": "squeeze"})
    found = local_archive.find_index(video(), spec())
    assert found is not None
    assert found.manifest == manifest
    assert local_archive.find_index(video(), spec(sampling={"fps": 2.0})) is None
    assert local_archive.find_index(video("other.mp4"), spec()) is None


def test_a_recording_that_has_grown_is_found_by_its_whole_content(local_archive: Archive) -> None:
    manifest = write_index(local_archive)
    grown = dataclasses.replace(video(), size=2000, sha256="ab" * 32, video_id="ab" * 16)
    chunks = random_chunks(2)
    with local_archive.extend_index(manifest, grown, keep=3) as writer:
        for number, kvs in enumerate(chunks, start=3):
            writer.append(number, 10.0 * number, 10.0 * number + 10, 10, kvs)
        writer.commit()
    found = local_archive.find_index(grown, spec())
    assert found is not None
    assert found.manifest.video.video_id == manifest.video.video_id
    assert local_archive.find_index(video(), spec()) is None


def test_choose_among_indexes(archive: Archive) -> None:
    write_index(archive)
    faster = write_index(archive, sampling={"fps": 2.0, "frames": None})
    other = write_index(archive, model_fingerprint="0" * 32, model={"name": "big"})
    assert archive.open_index("holiday.mp4", spec=faster.spec).manifest == faster
    assert archive.open_index("holiday.mp4", index_fp=other.index_fp).manifest == other
    assert archive.open_index("holiday.mp4", model_fingerprint="0" * 32).manifest == other
    with pytest.raises(FingerprintMismatchError, match=r"sampling.fps: the first") as caught:
        archive.open_index("holiday.mp4", model_fingerprint=faster.spec.model_fingerprint)
    assert "2 indexes" in str(caught.value)


def test_mismatch_says_what_differs(archive: Archive) -> None:
    write_index(archive)
    asked = spec(model_fingerprint="0" * 32, model={"name": "big", "layers": 3})
    with pytest.raises(FingerprintMismatchError, match="made with another model") as caught:
        archive.open_index("holiday.mp4", spec=asked)
    assert "model.name: stored tiny, asked for big" in str(caught.value)
    assert "layers" not in str(caught.value)
    with pytest.raises(FingerprintMismatchError, match="made with another model") as caught:
        archive.open_index("holiday.mp4", model_fingerprint="0" * 32)
    assert '"name":"tiny"' in str(caught.value)
    with pytest.raises(FingerprintMismatchError, match="made with other settings") as caught:
        archive.open_index("holiday.mp4", spec=spec(compression={"low_ratio": 4, "high_ratio": 32}))
    assert "compression.low_ratio: stored 2, asked for 4" in str(caught.value)
    with pytest.raises(FingerprintMismatchError, match="no index 1"):
        archive.open_index("holiday.mp4", index_fp="1" * 32)
    assert archive.open_index("holiday.mp4", spec=spec(sampling={"fps": 1, "frames": None}))
