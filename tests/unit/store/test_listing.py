"""Every committed index is listed, whatever the catalog holds."""

from __future__ import annotations

from tests.unit.store.samples import every_storage, flip, spec, video, write_index
from videox2l.store import Archive, layout
from videox2l.store.storage import Storage


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
