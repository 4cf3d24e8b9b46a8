"""Files of a local folder that appear whole or not at all, also across a crash or a power cut."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


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


def _sync_folder(folder: Path) -> None:
    """Make a new name durable: on POSIX systems it belongs to the folder, not to the file."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
