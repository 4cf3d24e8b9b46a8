"""Nobody begins to write what is there, or where nothing can be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.store.samples import spec, video, write_index
from videox2l.errors import AlreadyCommittedError, ArchiveNotWritableError
from videox2l.store import Archive


def test_known_index_is_refused_before_work(archive: Archive) -> None:
    write_index(archive)
    with pytest.raises(AlreadyCommittedError):
        archive.create_index(video(), spec())


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file stands where the archive should be")
    with pytest.raises(ArchiveNotWritableError, match="cannot write"):
        Archive.open(tmp_path / "file" / "archive", create=True)


def test_permission_denied(local_archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Not by file modes: tests may run as root, whom they do not bind.
    monkeypatch.setattr("videox2l.store.storage.write_atomically", deny)
    with pytest.raises(ArchiveNotWritableError, match="Permission denied"):
        local_archive.create_index(video(), spec())
