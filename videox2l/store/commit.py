"""The commit of an index: its manifest is put in place, if nobody else was faster; then what it replaces is hidden."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from videox2l.errors import ArchiveError, ArchiveNotWritableError
from videox2l.store import catalog, committed, journal, layout
from videox2l.store.entries import ShardEntry
from videox2l.store.inventory import IndexKey
from videox2l.store.manifest import Manifest
from videox2l.store.storage import Storage

logger = logging.getLogger(__name__)


def check_stored(storage: Storage, index: IndexKey, attempts: Iterable[str], shards: Iterable[ShardEntry]) -> None:
    """The shards of these attempts are there, in full, before anyone is told of them.

    A sweep may have taken their writer for dead.

    :raises ArchiveNotWritableError: one is not.
    """
    wanted = list(shards)
    for attempt in sorted(attempts):
        folder = layout.attempt(*index, attempt)
        stored = {info.path: info.size for info in storage.files(folder)}
        for entry in wanted:
            if entry.attempt == attempt and stored.get(f"{folder}/{entry.name}") != entry.size:
                raise ArchiveNotWritableError(
                    f"{folder}/{entry.name} is not stored as it was written. Another program may have deleted it, or "
                    "the storage lost it; nothing was committed. Ingest the video again."
                )


def put_in_place(storage: Storage, manifest: Manifest, version: str | None) -> bool:
    """Make the index visible; whether ``manifest`` is the one that now is.

    ``version``: of the manifest file whose place it takes, or None if there is none.

    :raises ArchiveError: the storage refused, and nothing is visible.
    """
    try:
        if version is None:
            storage.create(manifest.path, manifest.to_json())
        else:
            storage.swap(manifest.path, manifest.to_json(), version)
    except (FileExistsError, ArchiveError):
        # A request whose answer was lost is sent again, and then meets its own manifest.
        winner = committed_attempt(storage, (manifest.video.video_id, manifest.index_fp))
        if winner is None:
            raise
        return winner == manifest.attempt
    return True


def tidy_up(storage: Storage, manifest: Manifest, replaced: Iterable[Manifest], journals: Iterable[str]) -> None:
    """After the commit: write its catalog row, hide what it has replaced, delete the journals of these attempts.

    Never raises for storage errors: the index hides what it replaces, and `gc` and `ls` do the rest at any time.
    """
    try:
        catalog.write(storage, manifest)
        for obsolete in replaced:
            hide(storage, obsolete)
        for attempt in sorted(journals):
            journal.delete(storage, manifest.video.video_id, manifest.index_fp, attempt)
    except ArchiveError as error:
        logger.warning("Not everything around %s is up to date: %s", manifest.path, error)


def committed_attempt(storage: Storage, index: IndexKey) -> str | None:
    """The attempt whose manifest is in place, or None if there is none."""
    path = layout.manifest(*index)
    try:
        return Manifest.from_json(storage.read(path), path).attempt
    except FileNotFoundError:
        return None


def is_current(storage: Storage, index: IndexKey) -> bool:
    """Whether the index is committed, and no other has replaced it. One request where it is not, else two or more.

    :raises ArchiveError: the storage does not answer.
    """
    return storage.exists(layout.manifest(*index)) and _obsolete(storage, index) is None


def make_way(storage: Storage, index: IndexKey) -> bool:
    """Whether the index may be committed: its place is free, or held by one that another has replaced.

    That one is hidden now, as the writer that replaced it was killed before it could.

    :raises ArchiveError: the storage refused, or does not answer.
    """
    if not storage.exists(layout.manifest(*index)):
        return True
    obsolete = _obsolete(storage, index)
    if obsolete is not None:
        hide(storage, obsolete)
    return obsolete is not None


def _obsolete(storage: Storage, index: IndexKey) -> Manifest | None:
    """The manifest in the index's place, if another index of the video says that it has replaced it."""
    if set(committed.index_names(storage, index[0])) <= {index[1]}:
        return None
    stored = committed.read_stored(storage, index[0], damaged_too=True)
    replaced = {attempt for manifest in stored for attempt in manifest.replaces}
    return next((one for one in stored if one.index_fp == index[1] and one.attempt in replaced), None)


def hide(storage: Storage, obsolete: Manifest) -> None:
    """Remove manifest and row of an index that was replaced. Its files stay for their readers, until `gc`.

    Nothing happens where another manifest has taken its place.

    :raises ArchiveError: the storage refused, or the manifest is damaged.
    """
    if committed_attempt(storage, (obsolete.video.video_id, obsolete.index_fp)) == obsolete.attempt:
        catalog.delete(storage, obsolete)
        storage.delete(obsolete.path)
