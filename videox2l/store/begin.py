"""Beginning to write an index: what its commit takes the place of, and what is known of the video already."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from videox2l.errors import AlreadyCommittedError
from videox2l.identity import VideoIdentity
from videox2l.store import commit, committed, layout
from videox2l.store.manifest import Manifest
from videox2l.store.metadata import Alias, MetadataValue, with_alias
from videox2l.store.spec import IndexSpec
from videox2l.store.storage import Storage
from videox2l.store.writer import Base, IndexWriter


def new(
    storage: Storage,
    video: VideoIdentity,
    spec: IndexSpec,
    recorded_at: str | None,
    metadata: Mapping[str, MetadataValue] | None,
) -> IndexWriter:
    """Of an index that must not be there yet.

    :raises AlreadyCommittedError: it is.
    """
    if not commit.make_way(storage, (video.video_id, spec.index_fp)):
        raise AlreadyCommittedError(f"{video.name} is already in {storage.url} with these settings. Use that index.")
    return IndexWriter(storage, video, spec, recorded_at=recorded_at, metadata=metadata)


def replacing(
    storage: Storage,
    video: VideoIdentity,
    spec: IndexSpec,
    recorded_at: str | None,
    metadata: Mapping[str, MetadataValue] | None,
) -> IndexWriter:
    """Of an index that takes the place of all that the same model made of the video."""
    version = storage.version(layout.manifest(video.video_id, spec.index_fp))
    # Obsolete ones too, since this manifest may take the place of the one that hides them.
    stored = [
        manifest
        for manifest in committed.read_stored(storage, video.video_id, damaged_too=True)
        if manifest.spec.model_fingerprint == spec.model_fingerprint
    ]
    latest = max(stored, key=lambda manifest: manifest.created, default=None)
    return IndexWriter(
        storage,
        video,
        spec,
        base=None if version is None else Base(version),
        replaces=[manifest for manifest in stored if manifest.index_fp != spec.index_fp],
        recorded_at=recorded_at or (latest.recorded_at if latest is not None else None),
        metadata=metadata if metadata is not None or latest is None else latest.metadata,
        aliases=() if latest is None else _aliases_of(video, latest),
    )


def extending(
    storage: Storage,
    manifest: Manifest,
    video: VideoIdentity,
    keep: int,
    metadata: Mapping[str, MetadataValue] | None,
) -> IndexWriter:
    """Of an index that begins with ``keep`` chunks of the committed one whose place it takes.

    :raises AlreadyCommittedError: that was replaced or removed since ``manifest`` was read.
    """
    current, version = committed.read_version(storage, manifest)
    if current.attempt != manifest.attempt or current.chunks != manifest.chunks:
        raise AlreadyCommittedError(f"{manifest.video.name} was replaced meanwhile in {storage.url}. Try again.")
    grown = dataclasses.replace(video, video_id=manifest.video.video_id)
    obsolete = committed.read_stored(storage, grown.video_id, damaged_too=True) if current.replaces else []
    return IndexWriter(
        storage,
        grown,
        manifest.spec,
        base=Base(version, current, keep),
        replaces=[old for old in obsolete if old.attempt in current.replaces],
        recorded_at=current.recorded_at,
        metadata=current.metadata if metadata is None else metadata,
        aliases=_aliases_of(grown, current),
    )


def rebuilding(
    storage: Storage,
    video: VideoIdentity,
    spec: IndexSpec,
    recorded_at: str | None,
    metadata: Mapping[str, MetadataValue] | None,
    aliases: Sequence[Alias],
) -> IndexWriter:
    """Of an index that takes its own place, whatever its manifest holds.

    :raises AlreadyCommittedError: there is no such index any more.
    """
    version = storage.version(layout.manifest(video.video_id, spec.index_fp))
    if version is None:
        raise AlreadyCommittedError(f"{video.name} was removed meanwhile from {storage.url}. Ingest it anew.")
    return IndexWriter(
        storage, video, spec, base=Base(version), recorded_at=recorded_at, metadata=metadata, aliases=aliases
    )


def _aliases_of(video: VideoIdentity, before: Manifest) -> tuple[Alias, ...]:
    """What ``video`` is called besides, when its index takes the place of ``before``."""
    return with_alias(before.aliases, video.name, video.source, before.video.name, before.video.source)
