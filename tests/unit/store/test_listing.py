"""Every committed index is listed, whatever the catalog holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.store.samples import every_storage, flip, spec, video, write_index
from videox2l.errors import AlreadyCommittedError
from videox2l.store import Archive, Manifest, commit, layout
from videox2l.store.storage import Storage
from videox2l.store.sweep import collect, find_garbage, remove_index
from videox2l.store.verify import verify


@every_storage
def test_listing_survives_a_lost_catalog(archive: Archive) -> None:
    write_index(archive)
    write_index(archive, sampling={"fps": 2})
    write_index(archive, name="birthday.mp4")
    Storage(archive.url).delete_folder(layout.CATALOG)
    videos = archive.videos()
    assert [(video.name, len(video.indexes)) for video in videos] == [("birthday.mp4", 1), ("holiday.mp4", 2)]
    assert videos[1].duration_s == 40.0
    Storage(archive.url).write(layout.catalog("0" * 32, "1" * 32), b"stale")
    assert archive.rebuild_catalog() == 3
    assert len(Storage(archive.url).names(layout.CATALOG)) == 3


@every_storage
def test_damaged_catalog_is_replaced(archive: Archive) -> None:
    manifest = write_index(archive)
    path = layout.catalog(video().video_id, spec().index_fp)
    storage = Storage(archive.url)
    good = storage.read(path)
    for offset in range(0, len(good), 997):
        flip(archive, path, offset)
        assert archive.videos()[0].video_id == manifest.video.video_id
    storage.write(path, b"not a Parquet file")
    assert archive.videos()[0].name == "holiday.mp4"
    assert storage.read(path) == good


@pytest.mark.parametrize("change", ["new", "described"])
def test_an_index_whose_writer_was_killed_before_it_could_write_the_row(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Also where another index of the video has its row."""
    write_index(archive)
    second = write_index(archive, sampling={"fps": 2}) if change == "described" else None
    with monkeypatch.context() as killed:
        killed.setattr("videox2l.store.catalog.write", lambda *_: None)
        if second is None:
            second = write_index(archive, sampling={"fps": 2})
        else:
            archive.describe(video(), second.index_fp, metadata={"camera": 1})
    assert verify(archive.storage).ok
    assert find_garbage(archive.storage, now=datetime.now(UTC) + timedelta(days=2)) == []
    [entry] = archive.videos()
    assert {row.index_fp: row.metadata for row in entry.indexes} == {
        spec().index_fp: "{}",
        second.index_fp: "{}" if change == "new" else '{"camera":1}',
    }


@pytest.mark.parametrize("change", ["described", "removed"])
def test_an_index_that_was_changed_before_its_writer_wrote_the_row(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    tidy_up, moved = commit.tidy_up, video(folder="/elsewhere")

    def late(storage: Storage, manifest: Manifest, *rest: Any) -> None:
        monkeypatch.undo()
        if change == "described":
            archive.describe(moved, manifest.index_fp)
        else:
            remove_index(storage, (manifest.video.video_id, manifest.index_fp))
        tidy_up(storage, manifest, *rest)

    monkeypatch.setattr(commit, "tidy_up", late)
    write_index(archive)
    assert verify(archive.storage).ok
    if change == "described":
        assert archive.resolve(moved.source) == moved.video_id
    else:
        assert archive.videos() == []


def test_an_index_that_was_announced_and_not_committed(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    write_index(archive)
    with monkeypatch.context() as killed:
        killed.setattr("videox2l.store.commit.put_in_place", lambda *_: False)
        with pytest.raises(AlreadyCommittedError):
            write_index(archive, sampling={"fps": 2})
    [entry] = archive.videos()
    assert [row.index_fp for row in entry.indexes] == [spec().index_fp]
    assert verify(archive.storage).ok
    collect(archive.storage, find_garbage(archive.storage, now=datetime.now(UTC) + timedelta(days=2)))
    assert len(archive.storage.names(layout.CATALOG)) == 1
