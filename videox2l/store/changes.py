"""Changes to what is committed that store no KVs: a manifest takes the place of the one that it was made from."""

from __future__ import annotations

from collections.abc import Mapping

from videox2l.errors import AlreadyCommittedError
from videox2l.identity import VideoIdentity
from videox2l.store import catalog, committed
from videox2l.store.manifest import Manifest
from videox2l.store.metadata import MetadataValue
from videox2l.store.storage import Storage

# Of a change to a manifest that somebody else changes at the same moment.
_DESCRIBE_TRIES = 5


def swap_manifest(storage: Storage, old: Manifest, new: Manifest) -> None:
    """As :meth:`videox2l.store.Archive.swap_manifest`."""
    replaced = f"{old.video.name} was replaced meanwhile in {storage.url}. Try again."
    current, version = committed.read_version(storage, old)
    if current != old:
        raise AlreadyCommittedError(replaced)
    catalog.announce(storage, old)
    try:
        storage.swap(old.path, new.to_json(), version)
    except FileExistsError as error:
        raise AlreadyCommittedError(replaced) from error
    catalog.write(storage, new)


def describe(
    storage: Storage,
    video: VideoIdentity,
    index_fp: str,
    *,
    recorded_at: str | None,
    metadata: Mapping[str, MetadataValue] | None,
) -> list[str]:
    """As :meth:`videox2l.store.Archive.describe`."""
    key = (video.video_id, index_fp)
    row = catalog.read(storage, [key]).get(key)
    if row is not None and not row.description.updated(video, recorded_at, metadata)[1]:
        return []
    for attempt in range(_DESCRIBE_TRIES):
        try:
            manifest = committed.read(storage, *key)
            said, news = manifest.description.updated(video, recorded_at, metadata)
            if news:
                swap_manifest(storage, manifest, manifest.described(said))
        except FileNotFoundError as error:
            raise AlreadyCommittedError(f"{video.name} was removed meanwhile from {storage.url}.") from error
        except AlreadyCommittedError:
            if attempt == _DESCRIBE_TRIES - 1:
                raise
        else:
            break
    return news
