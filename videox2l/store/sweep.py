"""Garbage collection: what killed writers, replaced indexes and removed videos left behind.

Nothing that a committed manifest refers to is ever touched, and nothing young: a writer may still be at work, and a
reader may still use what was just replaced. Of an index with a young journal everything stays, because whoever goes on
from it uses shards of earlier attempts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from videox2l.errors import ArchiveError
from videox2l.store import journal, layout
from videox2l.store.commit import hide
from videox2l.store.inventory import AttemptKey, IndexKey, Inventory, read_manifests, take_inventory
from videox2l.store.manifest import Manifest
from videox2l.store.storage import FileInfo, Storage

GRACE = timedelta(hours=24)
"""Longer than anyone keeps a video open without opening it anew, or prefills one without storing a shard."""


@dataclass(frozen=True)
class Garbage:
    """Files that can go, and why. ``attempt`` names the writer they belong to, where they belong to one.

    ``obsolete``: the manifest that goes.
    """

    paths: tuple[str, ...]
    bytes: int
    reason: str
    attempt: AttemptKey | None = None
    obsolete: Manifest | None = None


def find_garbage(
    storage: Storage,
    *,
    older_than: timedelta = GRACE,
    now: datetime | None = None,
    inventory: Inventory | None = None,
) -> list[Garbage]:
    """What can be deleted; ``inventory`` saves listing the archive where that was just done.

    :raises ArchiveError: the storage cannot be listed.
    """
    inventory = inventory or take_inventory(storage)
    limit = (now or datetime.now(UTC)) - older_than
    # Nobody knows what a damaged manifest refers to, so everything of its index stays.
    manifests, unreadable = read_manifests(storage, inventory)
    damaged, unfinished = set(unreadable), _unfinished(inventory, limit)
    return [
        *_attempts(inventory, manifests, damaged | unfinished, limit),
        *_obsolete(inventory, manifests),
        *_stale_rows(inventory, limit),
        *_pardoned(inventory),
        *_models(inventory, manifests, damaged | unfinished, limit),
        *_temporary(inventory, limit),
    ]


def collect(storage: Storage, garbage: Iterable[Garbage]) -> None:
    """Delete ``garbage``. Spared is an attempt that was committed or gone on from since it was found, and an index that
    took the place of an obsolete one.

    :raises ArchiveError: deleting is refused, or the storage does not answer.
    """
    for item in garbage:
        if item.attempt is not None and not _may_go(storage, item.attempt, item.paths):
            continue
        if item.obsolete is not None:
            hide(storage, item.obsolete)
        else:
            for path in item.paths:
                storage.delete(path)
            if item.attempt is not None:
                storage.delete(layout.claim(*item.attempt))
        for folder in sorted({path.rpartition("/")[0] for path in item.paths}, reverse=True):
            storage.delete_empty_folders(folder)


def remove_index(storage: Storage, key: IndexKey) -> None:
    """Remove an index, damaged or not: its row, for it is listed no more; its manifest, the commit; then its files.

    :raises ArchiveNotWritableError: deleting is refused.
    """
    storage.delete(layout.catalog(*key))
    storage.delete(layout.manifest(*key))
    storage.delete_folder("/".join((layout.video(key[0]), key[1])))


def _unfinished(inventory: Inventory, limit: datetime) -> set[IndexKey]:
    """Indexes that a writer is at work on, or that one may go on with from where another ended."""
    return {
        (video_id, index_fp)
        for video_id, index_fp, attempt in inventory.journals
        if any(info.modified > limit for info in inventory.attempts[video_id, index_fp, attempt])
    }


def _attempts(
    inventory: Inventory, manifests: dict[IndexKey, Manifest], spared: set[IndexKey], limit: datetime
) -> Iterator[Garbage]:
    obsolete_since = {
        attempt: datetime.fromisoformat(manifest.created)
        for manifest in manifests.values()
        for attempt in manifest.replaces
    }
    for (video_id, index_fp, attempt), files in inventory.attempts.items():
        manifest = manifests.get((video_id, index_fp))
        if (video_id, index_fp) in spared:
            continue
        current = manifest is not None and manifest.attempt not in obsolete_since
        used = {manifest.shard_path(n) for n in range(len(manifest.shards))} if manifest and current else set()
        used.intersection_update(info.path for info in files)
        unused = [info for info in files if info.path not in used]
        # Files are as old as the moment in which they were given up, not as the day they were written.
        ages = [info.modified for info in files]
        if attempt in obsolete_since:
            ages.append(obsolete_since[attempt])
        if manifest is not None:
            ages.append(datetime.fromisoformat(manifest.created))
        if not unused or max(ages) > limit:
            continue
        if used:
            yield _garbage(unused, "shards that were given up")
        else:
            reason = "of an index that was replaced" if manifest or attempt in obsolete_since else "never committed"
            yield _garbage(unused, reason, (video_id, index_fp, attempt))


def _obsolete(inventory: Inventory, manifests: dict[IndexKey, Manifest]) -> Iterator[Garbage]:
    """Manifests that a newer one replaced, and that its writer was killed before it could delete."""
    attempts = {attempt for manifest in manifests.values() for attempt in manifest.replaces}
    for key, manifest in manifests.items():
        if manifest.attempt in attempts:
            rows = [inventory.catalog[key]] if key in inventory.catalog else []
            yield _garbage([*rows, inventory.manifests[key]], "of an index that was replaced", obsolete=manifest)


def _stale_rows(inventory: Inventory, limit: datetime) -> Iterator[Garbage]:
    """Not those of an index that is being committed."""
    gone = (info for key, info in inventory.catalog.items() if key not in inventory.manifests)
    stale = [info for info in gone if info.modified <= limit]
    if stale:
        yield _garbage(stale, "catalog rows of indexes that are gone")


def _pardoned(inventory: Inventory) -> Iterator[Garbage]:
    """Records of videos that were ingested after all, by a job that was killed before it could delete them."""
    pardoned = [info for key, info in inventory.quarantine.items() if key in inventory.manifests]
    if pardoned:
        yield _garbage(pardoned, "quarantine of videos that are ingested")


def _models(
    inventory: Inventory, manifests: dict[IndexKey, Manifest], spared: set[IndexKey], limit: datetime
) -> Iterator[Garbage]:
    used = {manifest.spec.model_fingerprint for manifest in manifests.values()}
    unused = [info for name, info in inventory.models.items() if name not in used and info.modified <= limit]
    if unused and not spared:
        yield _garbage(unused, "models that no index was made with")


def _temporary(inventory: Inventory, limit: datetime) -> Iterator[Garbage]:
    old = [info for info in inventory.leftovers if info.modified <= limit]
    if old:
        yield _garbage(old, "half-written files of killed writers")


def _garbage(
    files: Iterable[FileInfo], reason: str, attempt: AttemptKey | None = None, obsolete: Manifest | None = None
) -> Garbage:
    files = list(files)
    return Garbage(tuple(info.path for info in files), sum(info.size for info in files), reason, attempt, obsolete)


def _may_go(storage: Storage, key: AttemptKey, paths: Sequence[str]) -> bool:
    """Whether the attempt is garbage still. If it has a journal, nobody can go on from it from now on."""
    if _is_committed(storage, key):
        return False
    if layout.journal(*key) not in paths:
        return True
    if layout.claim(*key) not in paths and not journal.withdraw(storage, *key):
        return False
    storage.delete(layout.journal(*key))  # while it is there, so is everything that it names
    return True


def _is_committed(storage: Storage, key: AttemptKey) -> bool:
    video_id, index_fp, attempt = key
    path = layout.manifest(video_id, index_fp)
    try:
        return attempt in Manifest.from_json(storage.read(path), path).attempts
    except FileNotFoundError:
        return False
    except ArchiveError:
        return True  # nobody knows, so it stays
