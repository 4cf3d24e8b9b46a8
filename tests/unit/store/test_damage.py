"""Damage and foreign formats are noticed, and the message names the place."""

from __future__ import annotations

import json

import pytest

from tests.unit.store.samples import every_storage, flip, shard_path, write_index
from videox2l.errors import ArchiveFormatError, CorruptDataError
from videox2l.store import Archive, Manifest, layout
from videox2l.store.documents import seal
from videox2l.store.storage import Storage
from videox2l.store.verify import verify_index


def place(manifest: Manifest, part: str) -> tuple[str, int]:
    stored = manifest.prompt if part == "prompt" else manifest.chunks[1].levels[part]  # type: ignore[index]
    return manifest.shard_path(stored.shard), stored.offset + stored.length // 2


@pytest.mark.parametrize("part", ["low", "high", "prompt"])
def test_flipped_bit_in_a_shard(archive: Archive, part: str) -> None:
    manifest = write_index(archive)
    path, offset = place(manifest, part)
    flip(archive, path, offset)
    reader = archive.open_index("holiday.mp4")
    reads = {"low": lambda: reader.low(1), "high": reader.high, "prompt": reader.prompt}
    with pytest.raises(CorruptDataError) as caught:
        reads[part]()
    assert path in str(caught.value)
    assert part == "prompt" or "chunk 1" in str(caught.value)
    for other in reads.keys() - {part}:
        reads[other]()
    reader.low(0)


@pytest.mark.parametrize("part", ["low", "high", "prompt"])
@pytest.mark.parametrize("keep", [0, 100, "half"])
def test_shard_cut_short(archive: Archive, part: str, keep: int | str) -> None:
    manifest = write_index(archive)
    path, middle = place(manifest, part)
    storage = Storage(archive.url)
    storage.write(path, storage.read(path)[: middle if keep == "half" else int(keep)])
    reader = archive.open_index("holiday.mp4")
    with pytest.raises(CorruptDataError, match=r"cut short|missing"):
        {"low": lambda: reader.low(1), "high": reader.high, "prompt": reader.prompt}[part]()
    [damage] = verify_index(archive.storage, manifest)
    assert damage.path == path
    assert "bytes where" in damage.problem


@every_storage
def test_shard_missing(archive: Archive) -> None:
    manifest = write_index(archive)
    path = shard_path(manifest, "low-00000.arrow")
    archive.storage.delete(path)
    reader = archive.open_index("holiday.mp4")
    with pytest.raises(CorruptDataError, match="missing"):
        reader.low_many([0, 1])
    [damage] = verify_index(archive.storage, manifest)
    assert (damage.path, damage.problem) == (path, "it is missing")


def test_footer_is_covered_by_verify(archive: Archive) -> None:
    manifest = write_index(archive)
    path = shard_path(manifest, "low-00000.arrow")
    flip(archive, path, -20)
    reader = archive.open_index("holiday.mp4")
    reader.low(0)  # no read of a KV touches the footer
    assert [damage.path for damage in verify_index(archive.storage, manifest)] == [path]


def test_manifest_cut_short(archive: Archive) -> None:
    manifest = write_index(archive)
    storage = Storage(archive.url)
    storage.write(manifest.path, storage.read(manifest.path)[:-200])
    with pytest.raises(CorruptDataError, match="not JSON"):
        archive.open_index("holiday.mp4")


@pytest.mark.parametrize(("version", "remedy"), [(0, "Ingest"), (2, "Update")])
def test_other_format_version(archive: Archive, version: int, remedy: str) -> None:
    manifest = write_index(archive)
    storage = Storage(archive.url)
    for path in (manifest.path, layout.ARCHIVE):
        document = json.loads(storage.read(path))
        storage.write(path, json.dumps({**document, "format_version": version}).encode())
    with pytest.raises(ArchiveFormatError, match=f"version {version}, this software reads version 1. {remedy}"):
        archive.open_index("holiday.mp4")
    with pytest.raises(ArchiveFormatError, match=f"version {version}"):
        Archive.open(archive.url)


def test_missing_field(archive: Archive) -> None:
    manifest = write_index(archive)
    storage = Storage(archive.url)
    document = json.loads(storage.read(manifest.path))
    del document["checksum"]
    storage.write(manifest.path, json.dumps(document).encode())
    with pytest.raises(CorruptDataError, match="does not end in a checksum"):
        archive.open_index("holiday.mp4")
    for name in ("chunks", "spec", "prompt"):
        storage.write(manifest.path, seal({key: value for key, value in document.items() if key != name}))
        with pytest.raises(ArchiveFormatError, match=f"lacks the field '{name}'"):
            archive.open_index("holiday.mp4")
