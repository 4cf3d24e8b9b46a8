"""Thumbnails: one small JPEG a chunk, for people to know it by, beside the KVs and never among them.

Files and places: see :mod:`videox2l.store.attachments`.
"""

from __future__ import annotations

from videox2l.store.attachments import read_attachments
from videox2l.store.manifest import MAX_ATTACHMENT_BYTES, Manifest
from videox2l.store.storage import Storage


def check_thumbnail(jpeg: bytes) -> None:
    """Raise ``ValueError`` for what is no JPEG, or larger than an archive keeps."""
    if not jpeg.startswith(_JPEG):
        raise ValueError("a thumbnail is a JPEG")
    if len(jpeg) > MAX_ATTACHMENT_BYTES:
        raise ValueError(f"a thumbnail has at most {MAX_ATTACHMENT_BYTES} bytes, not {len(jpeg)}")


_JPEG = b"\xff\xd8\xff"  # what every JPEG begins with


def read_thumbnail(storage: Storage, manifest: Manifest, chunk: int) -> bytes | None:
    """The JPEG of a chunk, verified, in one ranged request; None where none was kept.

    :raises IndexError: there is no such chunk.
    :raises CorruptDataError: it is missing, or not what was written.
    """
    if not 0 <= chunk < len(manifest.chunks):
        raise IndexError(f"{manifest.video.name} has chunks 0 to {len(manifest.chunks) - 1}, and no chunk {chunk}")
    stored = manifest.chunks[chunk].thumbnail
    if stored is None:
        return None
    [jpeg] = read_attachments(storage, manifest, {chunk: stored}, "thumbnail")
    return jpeg
