"""Keeping each level only as long as it is worth its space: low for 30 days, say, and high for a year."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from videox2l.errors import AlreadyCommittedError
from videox2l.kv.chunk import Level
from videox2l.store.archive import Archive
from videox2l.store.commit import committed_attempt
from videox2l.store.contents import renumber
from videox2l.store.manifest import Manifest
from videox2l.store.sweep import remove_index


@dataclass(frozen=True)
class Expiry:
    """One level of an index that is older than it is to be kept. Without its high level an index is removed."""

    manifest: Manifest
    level: Level
    bytes: int


def find_expired(
    manifests: Iterable[Manifest],
    *,
    low: timedelta | None = None,
    high: timedelta | None = None,
    now: datetime | None = None,
) -> list[Expiry]:
    """What is older than its level is kept, counted from the ingest; ``None`` keeps a level for ever."""
    now = now or datetime.now(UTC)
    found = []
    for manifest in manifests:
        age, totals = now - datetime.fromisoformat(manifest.created), manifest.totals
        if high is not None and age > high:
            found.append(Expiry(manifest, "high", totals["low"].bytes + totals["high"].bytes))
        elif low is not None and age > low and "low" not in manifest.dropped:
            found.append(Expiry(manifest, "low", totals["low"].bytes))
    return found


def expire(archive: Archive, expiry: Expiry) -> None:
    """Remove the level. Questions go on being answered from the high KVs, and say so.

    :raises AlreadyCommittedError: the index was replaced or removed meanwhile.
    :raises ArchiveNotWritableError: deleting is refused.
    """
    old = expiry.manifest
    if expiry.level == "high":
        index = (old.video.video_id, old.index_fp)
        if committed_attempt(archive.storage, index) != old.attempt:
            raise AlreadyCommittedError(f"{old.video.name} was replaced or removed meanwhile in {archive.url}.")
        remove_index(archive.storage, index)
        return
    new = without_low(old, datetime.now(UTC))
    archive.swap_manifest(old, new)
    kept = {new.shard_path(number) for number in range(len(new.shards))}
    for number in range(len(old.shards)):
        if (path := old.shard_path(number)) not in kept:
            archive.storage.delete(path)


def without_low(manifest: Manifest, when: datetime) -> Manifest:
    """The manifest of the same index after its low KVs are gone."""
    keep = [number for number, shard in enumerate(manifest.shards) if shard.part != "low"]
    number = {old: new for new, old in enumerate(keep)}
    chunks = [
        dataclasses.replace(
            chunk,
            levels={"high": renumber(chunk.levels["high"], number)},
            thumbnail=renumber(chunk.thumbnail, number),
            vectors=renumber(chunk.vectors, number),
        )
        for chunk in manifest.chunks
    ]
    return dataclasses.replace(
        manifest,
        prompt=renumber(manifest.prompt, number),
        chunks=tuple(chunks),
        shards=tuple(manifest.shards[old] for old in keep),
        dropped={**manifest.dropped, "low": when.isoformat(timespec="seconds")},
    )
