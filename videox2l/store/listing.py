"""The rows of all indexes: those of the catalog, and from the manifests those that it lacks."""

from __future__ import annotations

import logging

from videox2l.errors import ArchiveFormatError, ArchiveNotWritableError, CorruptDataError
from videox2l.store import catalog, committed, layout
from videox2l.store.catalog import CatalogRow
from videox2l.store.inventory import IndexKey
from videox2l.store.storage import Storage

logger = logging.getLogger(__name__)


def read_rows(storage: Storage) -> list[CatalogRow]:
    """Of every index that is committed and whole. Rows that were missing or damaged are in the catalog from then on."""
    known = catalog.keys(storage)
    video_ids = set(storage.names(layout.VIDEOS))
    listed = {key for key in known if key[0] in video_ids}
    rows = catalog.read(storage, listed)
    lacking = listed - rows.keys()
    for video_id in video_ids - {key[0] for key in known}:
        lacking |= committed.keys(storage, video_id)
    return list((rows | _restored(storage, lacking)).values())


def _restored(storage: Storage, lacking: set[IndexKey]) -> dict[IndexKey, CatalogRow]:
    """Rows made from the manifests of these indexes."""
    rows: dict[IndexKey, CatalogRow] = {}
    gone = set()
    for key in sorted(lacking):
        try:
            found = storage.version(layout.catalog(*key))
            manifest = committed.read(storage, *key)
        except FileNotFoundError:
            gone.add(key[0])  # the row outlived its index
            continue
        except (ArchiveFormatError, CorruptDataError) as error:
            # One damaged index must not hide the others; opening it says what is wrong.
            logger.warning("Not listed: %s", error)
            continue
        rows[key] = CatalogRow.of(manifest)
        try:
            catalog.restore(storage, manifest, found)
        except (ArchiveNotWritableError, FileExistsError):
            logger.debug("The catalog of %s stays without a row for %s", storage.url, manifest.path)
    for video_id in gone:  # another index may have just replaced it
        found_now = committed.read_current(storage, video_id, damaged_too=True)
        rows |= {(video_id, manifest.index_fp): CatalogRow.of(manifest) for manifest in found_now}
    return rows


def rebuild(storage: Storage) -> int:
    """Write the catalog anew from all manifests that are whole, and return the number of its rows.

    :raises ArchiveNotWritableError: writing is refused.
    """
    current = {(manifest.video.video_id, manifest.index_fp): manifest for manifest in committed.read_all(storage)}
    for stale in catalog.keys(storage) - current.keys():
        storage.delete(layout.catalog(*stale))
    for manifest in current.values():
        catalog.write(storage, manifest)
    return len(current)
