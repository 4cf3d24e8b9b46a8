"""Copies of an archive's bytes in a local folder, within a budget: least recently used out first.

Any number of processes may share the folder. A copy appears whole, by a rename; whoever reads one has to check it, as
everything that was read from an archive: a disk may have changed it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
import time
from pathlib import Path

# After an eviction this share of the budget is in use, so that not every new copy has to look for old ones.
_KEEP = 0.9

# Other processes add copies, too: the folder is looked through again after this share of the budget was written here.
_LOOK_AGAIN = 0.05

# A temporary file this old belongs to a process that was killed.
_ABANDONED_S = 3600.0

_TEMPORARY = ".part"


class DiskCache:
    """Bytes by name in ``folder``, which is made. A disk that is full or fails only makes it a smaller cache."""

    def __init__(self, folder: Path, budget: int) -> None:
        self.folder, self.budget = folder, budget
        self._lock = threading.Lock()
        self._bytes: int | None = None  # of all copies, when last looked at
        self._written = 0  # since then
        self.hits = self.misses = 0

    @property
    def total(self) -> int:
        """Bytes in all copies, as far as this process knows."""
        return (self._bytes or 0) + self._written

    def get(self, name: str) -> bytes | None:
        """The copy, unchecked, if there is one."""
        path = self._path(name)
        try:
            data = path.read_bytes()
            os.utime(path)  # the least recently used goes first
        except OSError:
            self.misses += 1
            return None
        self.hits += 1
        return data

    def put(self, name: str, data: bytes | memoryview) -> None:
        """Keep a copy."""
        if len(data) > self.budget:
            return
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(suffix=_TEMPORARY, dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError:
            return
        with self._lock:
            self._written += len(data)
            if self._bytes is None or self._written > _LOOK_AGAIN * self.budget or self.total > self.budget:
                self._evict()

    def drop(self, name: str) -> None:
        """Forget a copy that is not what it should be."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode()).hexdigest()
        return self.folder / digest[:2] / digest

    def _evict(self) -> None:
        copies: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("??/*"):
            with contextlib.suppress(OSError):  # another process may have removed it
                stat = path.stat()
                if not path.name.endswith(_TEMPORARY):
                    copies.append((stat.st_mtime, stat.st_size, path))
                elif time.time() - stat.st_mtime > _ABANDONED_S:
                    path.unlink()
        total = sum(size for _, size, _ in copies)
        if total > self.budget:
            for _, size, path in sorted(copies):
                if total <= _KEEP * self.budget:
                    break
                with contextlib.suppress(OSError):
                    path.unlink()
                total -= size
        self._bytes, self._written = total, 0
