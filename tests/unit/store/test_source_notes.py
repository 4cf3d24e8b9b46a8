"""An unchanged source is not read again; a changed one always is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
import s3fs

from videox2l.errors import UnreadableVideoError
from videox2l.identity import video_identity
from videox2l.store import Archive, layout
from videox2l.store.documents import seal

OPENED: list[str] = []
sys.addaudithook(lambda event, arguments: OPENED.append(str(arguments[0])) if event == "open" else None)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("videox2l.identity._SETTLED_S", -1.0)  # as if some seconds had passed
    path = tmp_path / "video.mp4"
    path.write_bytes(b"first content")
    return path


def reads(path: Path, run: Callable[[], object]) -> int:
    OPENED.clear()
    run()
    return OPENED.count(str(path))


def change_behind_its_times(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"other content"[: before.st_size])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_by_another_file(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"other content")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def test_unchanged_file_is_read_once(archive: Archive, source: Path) -> None:
    found = []
    assert reads(source, lambda: found.append(archive.identify(source))) == 1
    assert reads(source, lambda: found.append(archive.identify(source))) == 0
    assert found == [video_identity(source)] * 2


@pytest.mark.parametrize("change", [change_behind_its_times, replace_by_another_file])
def test_changed_file_is_another_video(archive: Archive, source: Path, change: Callable[[Path], None]) -> None:
    first = archive.identify(source)
    change(source)
    assert archive.identify(source) == video_identity(source)
    assert archive.identify(source).video_id != first.video_id


def test_file_that_has_just_changed_is_not_trusted(
    archive: Archive, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("videox2l.identity._SETTLED_S", 3600.0)
    for _ in range(2):
        assert reads(source, lambda: archive.identify(source)) == 1
    assert archive.storage.names(layout.SOURCES) == []


@pytest.mark.parametrize(
    "note", [b"", b"{}", seal({}), seal({"url": 1, "size": -1}), seal({"url": "x", "size": True, "tag": None})]
)
def test_damaged_note_is_made_again(archive: Archive, source: Path, note: bytes) -> None:
    first = archive.identify(source)
    path = layout.source(str(source))
    good = archive.storage.read(path)
    archive.storage.write(path, note)
    assert reads(source, lambda: archive.identify(source)) == 1
    assert archive.storage.read(path) == good
    assert archive.identify(source) == first


def test_vanished_file(archive: Archive, source: Path) -> None:
    archive.identify(source)
    source.unlink()
    with pytest.raises(UnreadableVideoError, match="no such file"):
        archive.identify(source)


def test_an_object_that_changed_since_it_was_listed(archive: Archive, s3_bucket: str) -> None:
    """A process that has listed a bucket remembers versions and sizes of what it found."""
    storage, source = s3fs.S3FileSystem(), f"{s3_bucket}/videos/camera.mp4"
    storage.pipe_file(source, b"first content")
    archive.identify(source)
    storage.ls(f"{s3_bucket}/videos")
    boto3.client("s3").put_object(Bucket=s3_bucket[5:], Key="videos/camera.mp4", Body=b"second, longer content")
    assert archive.identify(source).size == 22
    assert video_identity(source) == archive.identify(source)
