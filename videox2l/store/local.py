"""Files of a local folder that appear whole or not at all, also across a crash or a power cut; and views of them."""

from __future__ import annotations

import fcntl
import mmap
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Linux maps all pages in one go if asked, which is faster than a fault for every few of them. All are needed: the
# checksum of what was mapped is about to be taken.
_MAP_FLAGS = mmap.MAP_PRIVATE | getattr(mmap, "MAP_POPULATE", 0)


def write_atomically(path: Path, data: bytes, *, exclusive: bool) -> None:
    """Write ``data`` to ``path``, creating folders. ``exclusive``: only if nothing is there yet.

    :raises FileExistsError: ``exclusive`` and the file exists; of several writers exactly one does not get this.
    :raises OSError: as the operating system says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The leading dot hides the file from listings, the random part keeps writers apart.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if exclusive:
            # Unlike a rename, a link refuses to replace; unlike O_EXCL, it never shows a half-written file.
            os.link(temporary, path)
        else:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def map_range(path: Path, offset: int, length: int) -> memoryview:
    """``length`` bytes from ``offset`` on, cut short where the file ends, without copying them.

    The files of an archive are never changed in place, and the view keeps a deleted one alive.

    :raises FileNotFoundError: there is no such file.
    :raises OSError: as the operating system says.
    """
    with path.open("rb") as stream:
        length = max(0, min(length, os.fstat(stream.fileno()).st_size - offset))
        if length == 0:
            return memoryview(b"")
        start = offset - offset % mmap.ALLOCATIONGRANULARITY
        mapping = mmap.mmap(stream.fileno(), offset + length - start, _MAP_FLAGS, mmap.PROT_READ, offset=start)
    return memoryview(mapping)[offset - start :]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes that call this for the same path waiting. The lock dies with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _sync_folder(folder: Path) -> None:
    """Make a new name durable: on POSIX systems it belongs to the folder, not to the file."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
