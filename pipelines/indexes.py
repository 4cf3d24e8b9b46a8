"""Finding the indexes of a video that a user means."""

from __future__ import annotations

from videox2l.errors import CorruptDataError, VideoNotFoundError
from videox2l.store import Archive, Manifest, layout
from videox2l.store.manifest import ID


def index_ids(archive: Archive, video_id: str, index: str | None = None) -> list[str]:
    """Ids of the video's committed indexes, also of damaged ones; only those that begin with ``index`` if given.

    :raises VideoNotFoundError: there are none.
    """
    storage = archive.storage
    found = [
        name
        for name in storage.names(layout.video(video_id))
        if ID.fullmatch(name) and storage.exists(layout.manifest(video_id, name))
    ]
    fitting = [name for name in found if name.startswith((index or "").lower())]
    if not fitting:
        there_are = f" There are: {', '.join(found)}." if found else ""
        raise VideoNotFoundError(f"video {video_id} has no index {index or 'any more'}.{there_are}")
    return fitting


def one_index(archive: Archive, video: str, index: str | None) -> Manifest:
    """The index of ``video`` that begins with ``index``, or its only one.

    :raises VideoNotFoundError: no such video or index.
    :raises FingerprintMismatchError: there are several; the message tells them apart.
    :raises CorruptDataError: its manifest is damaged.
    """
    video_id = archive.resolve(video)
    found = index_ids(archive, video_id, index)
    return archive.open_index(video_id, index_fp=found[0] if len(found) == 1 else None).manifest


def manifests(archive: Archive, video_id: str) -> tuple[list[Manifest], list[str]]:
    """The video's indexes, oldest first, and what is wrong with those that cannot be read."""
    found: list[Manifest] = []
    damaged: list[str] = []
    for index in index_ids(archive, video_id):
        try:
            found.append(archive.open_index(video_id, index_fp=index).manifest)
        except CorruptDataError as error:
            damaged.append(str(error))
    obsolete = {attempt for manifest in found for attempt in manifest.replaces}
    current = [manifest for manifest in found if manifest.attempt not in obsolete]
    return sorted(current, key=lambda manifest: (manifest.created, manifest.index_fp)), damaged
