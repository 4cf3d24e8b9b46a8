"""What is committed: the manifests of a video, and those of a whole archive."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from videox2l.errors import AlreadyCommittedError, ArchiveFormatError, CorruptDataError
from videox2l.store import layout
from videox2l.store.inventory import IndexKey, read_manifests, take_inventory
from videox2l.store.manifest import ID, Manifest
from videox2l.store.storage import Storage

logger = logging.getLogger(__name__)


def read(storage: Storage, video_id: str, index_fp: str) -> Manifest:
    """The manifest of an index.

    :raises FileNotFoundError: it is not committed.
    :raises CorruptDataError: its manifest is damaged.
    :raises ArchiveFormatError: its manifest is that of another index, or of another format version.
    """
    path = layout.manifest(video_id, index_fp)
    manifest = Manifest.from_json(storage.read(path), f"{storage.url}/{path}")
    if (manifest.video.video_id, manifest.index_fp) != (video_id, index_fp):
        raise ArchiveFormatError(f"{storage.url}/{path} describes another index: it was copied or moved here by hand.")
    return manifest


def read_version(storage: Storage, manifest: Manifest) -> tuple[Manifest, str]:
    """What is committed now in the place of ``manifest``, and the version of its file.

    :raises AlreadyCommittedError: nothing is.
    """
    gone = f"{manifest.video.name} was removed meanwhile from {storage.url}. Try again."
    version = storage.version(manifest.path)
    if version is None:
        raise AlreadyCommittedError(gone)
    try:
        return read(storage, manifest.video.video_id, manifest.index_fp), version
    except FileNotFoundError as error:
        raise AlreadyCommittedError(gone) from error


def read_asked(storage: Storage, video_id: str, index_fp: str | None) -> list[Manifest]:
    """The one that is ``index_fp``, if it is there; without one all of the video, as of :func:`read_current`."""
    if index_fp is None:
        return read_current(storage, video_id)
    if ID.fullmatch(index_fp) is None:  # it becomes part of a path
        return []
    try:
        return [read(storage, video_id, index_fp)]
    except FileNotFoundError:
        return []


def read_current(storage: Storage, video_id: str, *, damaged_too: bool = False) -> list[Manifest]:
    """The video's manifests without those that another one replaced; arguments as of :func:`read_stored`."""
    return _without_obsolete(read_stored(storage, video_id, damaged_too=damaged_too))


def read_stored(storage: Storage, video_id: str, *, damaged_too: bool = False) -> list[Manifest]:
    """The video's manifests, obsolete ones included. One request for a list, and one a manifest.

    :param damaged_too: do not raise for a damaged manifest, but leave it out.
    :raises CorruptDataError: a manifest is damaged, and ``damaged_too`` is off.
    """
    found = []
    for index_fp in index_names(storage, video_id):
        try:
            found.append(read(storage, video_id, index_fp))
        except FileNotFoundError:
            continue  # an attempt that was never committed
        except (ArchiveFormatError, CorruptDataError) as error:
            if not damaged_too:
                raise
            logger.warning("Left out: %s", error)
    return found


def read_all(storage: Storage) -> Iterator[Manifest]:
    """Those of all videos, obsolete ones left out; damaged ones are logged and left out."""
    whole, damaged = read_manifests(storage, take_inventory(storage))
    for error in damaged.values():
        logger.warning("Left out: %s", error)
    yield from _without_obsolete(list(whole.values()))


def keys(storage: Storage, video_id: str) -> set[IndexKey]:
    """Which indexes of the video are committed, whatever their manifests hold."""
    names = index_names(storage, video_id)
    return {(video_id, name) for name in names if storage.exists(layout.manifest(video_id, name))}


def _without_obsolete(manifests: list[Manifest]) -> list[Manifest]:
    obsolete = {attempt for manifest in manifests for attempt in manifest.replaces}
    return [manifest for manifest in manifests if manifest.attempt not in obsolete]


def index_names(storage: Storage, video_id: str) -> list[str]:
    """Ids of the video's indexes, also of those that nobody has committed. One request."""
    return [name for name in storage.names(layout.video(video_id)) if ID.fullmatch(name)]
