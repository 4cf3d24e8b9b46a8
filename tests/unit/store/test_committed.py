"""Manifests are read one by one: a damaged or misplaced one is an error, and hides no other."""

from __future__ import annotations

import pytest

from tests.unit.store.samples import write_index
from videox2l.errors import ArchiveFormatError
from videox2l.store import Archive, layout
from videox2l.store.storage import Storage


def test_damaged_index_does_not_hide_others(archive: Archive) -> None:
    manifest = write_index(archive)
    write_index(archive, name="other.mp4")
    storage = Storage(archive.url)
    storage.write(manifest.path, b"{}")
    storage.delete_folder(layout.CATALOG)
    assert [video.name for video in archive.videos()] == ["other.mp4"]
    with pytest.raises(ArchiveFormatError, match="format_version"):
        archive.open_index(manifest.video.video_id)


def test_moved_manifest(archive: Archive) -> None:
    manifest = write_index(archive)
    storage = Storage(archive.url)
    storage.write(layout.manifest("0" * 32, manifest.index_fp), storage.read(manifest.path))
    with pytest.raises(ArchiveFormatError, match="by hand"):
        archive.open_index("0" * 32)
