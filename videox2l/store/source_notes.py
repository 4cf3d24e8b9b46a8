"""What was found at a URL, so that an unchanged video need not be read again to know which one it is.

A note is trusted only while the storage shows the same size and version (an ETag; for local files inode and change
times). It is a cache: losing it costs a read.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path

from videox2l.errors import ArchiveError, SourceChangedError
from videox2l.identity import (
    SourceVersion,
    VideoIdentity,
    hash_file,
    known_identity,
    source_url,
    source_version,
    video_identity,
)
from videox2l.store import documents, layout
from videox2l.store.documents import seal, unseal
from videox2l.store.storage import Storage

logger = logging.getLogger(__name__)

_SHA256 = re.compile("[0-9a-f]{64}")


def identify(storage: Storage, source: str | Path) -> VideoIdentity:
    """As :meth:`videox2l.store.Archive.identify`."""
    version = source_version(source)
    if version is not None:
        digest = recall(storage, source_url(source), version)
        if digest is not None:
            return known_identity(source, version.size, digest)
    identity = video_identity(source)
    if version is not None and version == source_version(source) and version.size == identity.size:
        remember(storage, identity, version)
    return identity


def check_unchanged(storage: Storage, source: str | Path, video: VideoIdentity) -> None:
    """Whether ``source`` is still, or still begins with, what was read when it was identified as ``video``.

    Asked behind the decoding and before the commit: else a file that is overwritten in between would be answered about
    under the name of what it was. One small request; the file is read again only where its version is another one, or
    so young that it could be. Where the storage shows no versions (web servers without an ETag), nothing is found out.

    :raises SourceChangedError: it is not, or cannot be read any more.
    """
    version = source_version(source)
    if version is None and "://" in source_url(source):
        return
    if version is not None and recall(storage, source_url(source), version) == video.sha256:
        return
    try:
        digest, _ = hash_file(source, most=video.size)
    except (OSError, ImportError, ValueError) as error:
        raise SourceChangedError(
            f"{source_url(source)} was removed while it was ingested, or cannot be read any more ({error}); nothing "
            "was committed. Ingest it again."
        ) from error
    if digest != video.sha256:
        raise SourceChangedError(
            f"{source_url(source)} was overwritten while it was ingested, so nothing was committed. Ingest it again "
            "when it is complete."
        )


def remember(storage: Storage, identity: VideoIdentity, version: SourceVersion) -> None:
    """Note that ``version`` of the identity's source is this video. Failing to is no error."""
    note = {"url": identity.source, **dataclasses.asdict(version), "sha256": identity.sha256}
    try:
        storage.write(layout.source(identity.source), seal(note))
    except ArchiveError as error:
        logger.debug("No note of %s: %s", identity.source, error)


def recall(storage: Storage, url: str, version: SourceVersion) -> str | None:
    """The SHA-256 of what lies at ``url``, if it was read before in this very version."""
    path = layout.source(url)
    try:
        note = unseal(storage.read(path), path)
        same = (
            documents.field(note, "url", str, path) == url
            and documents.field(note, "size", int, path) == version.size
            and documents.field(note, "tag", str, path) == version.tag
        )
        return documents.matching(note, "sha256", _SHA256, path) if same else None
    except (FileNotFoundError, ArchiveError):
        return None
