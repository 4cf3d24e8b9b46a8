"""An index as one file: out, in, and what is refused on the way."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.unit.store.samples import append_all, assert_same, every_storage, random_chunks, spec, video, write_index
from videox2l.errors import (
    AlreadyCommittedError,
    ArchiveFormatError,
    ArchiveNotWritableError,
    CorruptDataError,
    VideoX2LError,
)
from videox2l.store import Archive, Manifest
from videox2l.store.sweep import collect, find_garbage, remove_index
from videox2l.store.transfer import export_index, import_index
from videox2l.store.verify import verify


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    archive = Archive.open(tmp_path / "elsewhere", create=True)
    export_index(archive, write_index(archive), tmp_path / "holiday.zip")
    return tmp_path / "holiday.zip"


def rewrite(
    file: Path, change: Callable[[str, bytes], tuple[str, bytes]], compression: int = zipfile.ZIP_STORED
) -> None:
    with zipfile.ZipFile(file) as source:
        entries = [change(name, source.read(name)) for name in source.namelist()]
    with zipfile.ZipFile(file, "w", compression) as out:
        for name, data in entries:
            out.writestr(name, data)


def as_exported(imported: Manifest, exported: Manifest) -> Manifest:
    """``imported``, which is a commit of its own, under the name of the one that it was."""
    assert imported.attempt != exported.attempt
    return dataclasses.replace(imported, attempt=exported.attempt)


def replaced(archive: Archive) -> Manifest:
    """What takes the place of the video's indexes, with other settings."""
    with archive.create_index(video(), spec(sampling={"fps": 2}), replace=True) as writer:
        append_all(writer, random_chunks())
        return writer.commit()


def nothing_came_in(archive: Archive) -> bool:
    return archive.videos() == [] and verify(archive.storage).ok


@every_storage
def test_round_trip(archive: Archive, tmp_path: Path) -> None:
    elsewhere, chunks = Archive.open(tmp_path / "elsewhere", create=True), random_chunks()
    manifest = write_index(elsewhere, chunks)
    file = tmp_path / "holiday.zip"
    assert export_index(elsewhere, manifest, file) == file.stat().st_size
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["holiday.zip"]
    assert as_exported(import_index(archive, file), manifest) == manifest
    reader = archive.open_index("holiday.mp4")
    assert_same(reader.low(2), chunks[2]["low"])
    assert verify(archive.storage).ok
    with pytest.raises(AlreadyCommittedError):
        import_index(archive, file)
    with pytest.raises(ArchiveNotWritableError, match="exists"):
        export_index(archive, manifest, file)


def test_extended_index_travels_whole(local_archive: Archive, tmp_path: Path) -> None:
    manifest, chunks = write_index(local_archive), random_chunks(1)
    with local_archive.extend_index(manifest, video(), keep=3) as writer:
        writer.append(3, 30, 40, 10, chunks[0])
        extended = writer.commit()
    export_index(local_archive, extended, tmp_path / "extended.zip")
    target = Archive.open(tmp_path / "target", create=True)
    assert as_exported(import_index(target, tmp_path / "extended.zip"), extended) == extended
    assert_same(target.open_index("holiday.mp4").low(3), chunks[0]["low"])
    assert verify(target.storage).unused == ()


def test_an_index_that_was_replaced_since_can_be_brought_back(local_archive: Archive, tmp_path: Path) -> None:
    first = write_index(local_archive)
    export_index(local_archive, first, tmp_path / "first.zip")
    second = replaced(local_archive)
    import_index(local_archive, tmp_path / "first.zip")
    collect(local_archive.storage, find_garbage(local_archive.storage, older_than=timedelta(0)))
    assert {manifest.index_fp for manifest in local_archive.manifests()} == {first.index_fp, second.index_fp}
    assert len(local_archive.videos()[0].indexes) == 2
    assert verify(local_archive.storage).ok


def test_an_import_replaces_nothing(local_archive: Archive, exported: Path, tmp_path: Path) -> None:
    elsewhere = Archive.open(tmp_path / "elsewhere")
    export_index(elsewhere, replaced(elsewhere), tmp_path / "second.zip")
    import_index(local_archive, exported)
    import_index(local_archive, tmp_path / "second.zip")
    assert len(list(local_archive.manifests())) == 2
    assert find_garbage(local_archive.storage) == []


def test_damaged_index_is_not_exported(local_archive: Archive, tmp_path: Path) -> None:
    manifest = write_index(local_archive)
    local_archive.storage.write(manifest.shard_path(1), b"damaged")
    with pytest.raises(CorruptDataError, match="not what was written"):
        export_index(local_archive, manifest, tmp_path / "holiday.zip")
    assert not any(path.is_file() for path in tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"not a ZIP file", b"PK\x05\x06" + bytes(18)])
def test_foreign_file(local_archive: Archive, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "foreign").write_bytes(content)
    with pytest.raises(ArchiveFormatError, match="videox2l export"):
        import_index(local_archive, tmp_path / "foreign")


def test_flipped_bytes(local_archive: Archive, exported: Path) -> None:
    good = exported.read_bytes()
    refused = 0
    for offset in range(0, len(good), 397):
        bad = bytearray(good)
        bad[offset] ^= 0x11
        exported.write_bytes(bad)
        try:
            import_index(local_archive, exported)
        except VideoX2LError:
            refused += 1
            assert nothing_came_in(local_archive)
        else:  # only ZIP's own fields that do not matter, such as times
            manifest = local_archive.open_index("holiday.mp4").manifest
            assert verify(local_archive.storage).ok
            remove_index(local_archive.storage, (manifest.video.video_id, manifest.index_fp))
    assert refused > len(good) / 397 / 2


def test_lacking_entries(local_archive: Archive, exported: Path) -> None:
    with zipfile.ZipFile(exported) as source:
        entries = {name: source.read(name) for name in source.namelist()}
    for lacking in entries:
        if lacking.startswith("models/"):
            continue  # the manifest says the same
        with zipfile.ZipFile(exported, "w") as out:
            for name, data in entries.items():
                if name != lacking:
                    out.writestr(name, data)
        with pytest.raises((ArchiveFormatError, CorruptDataError)):
            import_index(local_archive, exported)
        assert nothing_came_in(local_archive)


def test_names_that_lead_out(local_archive: Archive, exported: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(exported, "a") as out:
        for name in ("../outside", "/outside", "videos/../../outside", "videos/x/../../../outside"):
            out.writestr(name, b"outside")
    before = sorted(tmp_path.rglob("*"))
    import_index(local_archive, exported)
    assert not [path for path in {*tmp_path.rglob("*")} - set(before) if "outside" in path.name]
    assert verify(local_archive.storage).unused == ()


def test_two_indexes(local_archive: Archive, exported: Path, tmp_path: Path) -> None:
    other = Archive.open(tmp_path / "other", create=True)
    manifest = write_index(other, name="other.mp4")
    with zipfile.ZipFile(exported, "a") as out:
        out.writestr(manifest.path, manifest.to_json())
    with pytest.raises(ArchiveFormatError, match="several"):
        import_index(local_archive, exported)


@pytest.mark.parametrize("kind", ["archive.json", "manifest.json", ".arrow"])
def test_bombs(local_archive: Archive, exported: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videox2l.store.transfer.MAX_BYTES", 2**20)
    size = 2**26

    def inflate(name: str, data: bytes) -> tuple[str, bytes]:
        return name, data + bytes(size) if name.endswith(kind) else data

    rewrite(exported, inflate, zipfile.ZIP_DEFLATED)
    assert exported.stat().st_size < size / 8
    with pytest.raises(VideoX2LError):
        import_index(local_archive, exported)
    assert nothing_came_in(local_archive)


def test_moved_manifest(local_archive: Archive, exported: Path) -> None:
    rewrite(exported, lambda name, data: (name.replace(video().video_id, "0" * 32), data))
    with pytest.raises(ArchiveFormatError, match="another index"):
        import_index(local_archive, exported)


def test_export_of_several_shards_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videox2l.store.shard.TARGET_BYTES", {"low": 0, "high": 0, "prompt": 0})
    source, target = (Archive.open(tmp_path / name, create=True) for name in ("source", "target"))
    with source.create_index(video(), spec()) as writer:
        append_all(writer, random_chunks(3))
        manifest: Manifest = writer.commit()
    export_index(source, manifest, tmp_path / "index.zip")
    import_index(target, tmp_path / "index.zip")
    assert len(target.open_index("holiday.mp4").manifest.shards) == 7
    assert verify(target.storage).ok
