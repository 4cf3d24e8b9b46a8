"""The few operations an archive needs of a storage, made equal over every fsspec file system.

* ``write`` and ``create`` are atomic: one PUT on object storage, a linked temporary file on a local disk. Multipart
  uploads are avoided, since some S3 servers ignore the condition when they are completed; nothing is ever renamed.
* ``create`` stores only what is not there yet, ``swap`` only over the version that was read. They rely on If-None-Match
  and If-Match on S3; :meth:`Storage.check_conditions` finds servers that ignore them (rclone's and s3rver's do).
* Reads ask for explicit ranges. A read-ahead cache turned a 2 MiB read into 30 MiB. Local files are memory-mapped.
* Listings are never cached, so what another process wrote is seen at once.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec

from videox2l.errors import ArchiveError, ArchiveNotWritableError, CorruptDataError
from videox2l.store.documents import MAX_BYTES, checksum
from videox2l.store.layout import ARCHIVE
from videox2l.store.local import locked, map_range, write_atomically

# S3 takes single PUTs up to 5 GiB; s3fs switches to multipart at twice this number of bytes.
_SINGLE_PUT = 5 * 2**29

# AWS answers 409 when two conditional PUTs of a key overlap and asks to try again; the second try gets 412.
_CONFLICT_TRIES = 5

# Reads of a storage without an asynchronous driver in flight at once.
_READERS = 8

# fsspec's memory:// checks and stores in two steps.
_MEMORY_LOCK = threading.Lock()


@dataclass(frozen=True)
class Range:
    """``length`` bytes at ``offset`` of the file at ``path`` (relative to the storage's root)."""

    path: str
    offset: int
    length: int


@dataclass(frozen=True)
class FileInfo:
    """A stored file: path relative to the storage's root, bytes, and when it was last written (UTC)."""

    path: str
    size: int
    modified: datetime


class Storage:
    """One folder of a file system. All paths are relative to it, with forward slashes.

    Safe to use from several threads and after a fork, and picklable: every process connects anew.
    """

    def __init__(self, url: str | Path, storage_options: Mapping[str, Any] | None = None) -> None:
        self._given = str(url)
        self._options = dict(storage_options or {})
        self._connect()
        self.url = self.root if self._is_local else self._given.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether the folder is on a disk of this machine, or mounted there."""
        return self._is_local

    def free_bytes(self) -> int | None:
        """Room on the disk that the folder is on, or will be; None for object storage, which does not say."""
        if not self._is_local:
            return None
        folder = Path(self.root)
        return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free

    def read(self, path: str, limit: int = MAX_BYTES) -> bytes:
        """The whole file, which is a small one.

        :raises FileNotFoundError: there is none.
        :raises CorruptDataError: it is longer than ``limit`` bytes.
        """
        (data,) = self.read_ranges([Range(path, 0, limit + 1)])
        if len(data) > limit:
            raise CorruptDataError(f"{path} of {self.url} is longer than {limit} bytes, which no such file can be.")
        return bytes(data)

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes | memoryview]:
        """The given ranges in their order, fetched at once. Cut short where a file ends early.

        Ranges of local files are views of the mapped file: nothing is read before it is looked at.

        :raises FileNotFoundError: one of the files is missing.
        """
        if self._is_local:
            return [self._map(part) for part in ranges]
        if not self.fs.async_impl:
            with ThreadPoolExecutor(_READERS) as pool:
                return list(pool.map(self._read_range, ranges))
        return self._fetch(ranges)

    def version(self, path: str) -> str | None:
        """What :meth:`swap` compares: equal only while nobody writes the file. None if there is none."""
        with self._reading(path):
            try:
                if self.fs.async_impl:
                    return _etag(self.fs.info(self._full(path)))
                return checksum(self.fs.cat_file(self._full(path)))
            except FileNotFoundError:
                return None

    def write(self, path: str, data: bytes) -> None:
        """Store ``data``, replacing what is there.

        :raises ArchiveNotWritableError: the storage refused.
        """
        with self._writing(path):
            if self._is_local:
                write_atomically(Path(self._full(path)), data, exclusive=False)
            else:
                self.fs.pipe_file(self._full(path), data, **self._put_options)

    def create(self, path: str, data: bytes) -> None:
        """Store ``data`` if nothing is there yet; of several writers exactly one succeeds.

        :raises FileExistsError: something is there.
        :raises ArchiveNotWritableError: the storage refused.
        """
        with self._writing(path):
            if self._is_local:
                write_atomically(Path(self._full(path)), data, exclusive=True)
                return
            if self.fs.async_impl:
                self._conditional_put(path, data, mode="create")
            else:
                with _MEMORY_LOCK:
                    self.fs.pipe_file(self._full(path), data, mode="create")

    def _conditional_put(self, path: str, data: bytes, **condition: Any) -> None:
        for attempt in range(_CONFLICT_TRIES):
            try:
                self.fs.pipe_file(self._full(path), data, **condition, **self._put_options)
                return
            except FileNotFoundError as error:
                if "IfMatch" not in condition:
                    raise
                raise FileExistsError(path) from error  # the file to be replaced is gone
            except OSError as error:
                if _s3_code(error) in ("PreconditionFailed", "412"):
                    raise FileExistsError(path) from error
                if _s3_code(error) != "ConditionalRequestConflict" or attempt == _CONFLICT_TRIES - 1:
                    raise
                time.sleep(0.1 * 2**attempt)

    def swap(self, path: str, data: bytes, version: str) -> None:
        """Replace the file by ``data`` if it still is ``version``; of several writers exactly one succeeds.

        That holds on S3 and for the processes of one machine. On other object storages two machines that replace the
        same file within the same moment may both succeed; the later one counts, and both are whole.

        :raises FileExistsError: another writer replaced or removed it.
        :raises ArchiveNotWritableError: the storage refused.
        """
        with self._writing(path):
            if self._is_s3:
                self._conditional_put(path, data, IfMatch=version)
                return
            # fsspec has no conditional write for the others: compare and write, under a lock of this machine at least.
            with locked(Path(self._full(path))) if self._is_local else _MEMORY_LOCK:
                if self.version(path) != version:
                    raise FileExistsError(path)
                if self._is_local:
                    write_atomically(Path(self._full(path)), data, exclusive=False)
                else:
                    self.fs.pipe_file(self._full(path), data)

    def check_conditions(self) -> bool:
        """Whether this storage keeps the promise of :meth:`create`. Tried on the archive's own first file.

        :raises ArchiveNotWritableError: the storage refused.
        """
        if not self.fs.async_impl:
            return True
        try:
            self.create(ARCHIVE, self.read(ARCHIVE))
        except FileExistsError:
            return True
        return False

    def exists(self, path: str) -> bool:
        with self._reading(path):
            try:
                self.fs.info(self._full(path))
            except FileNotFoundError:
                return False
            return True

    def names(self, folder: str) -> list[str]:
        """Sorted names of files and folders directly inside ``folder``; empty if there is no such folder."""
        with self._reading(folder):
            try:
                found = self.fs.ls(self._full(folder), detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return []
        names = {path.rstrip("/").rpartition("/")[2] for path in found if path.rstrip("/") != self._full(folder)}
        return sorted(name for name in names if not name.startswith("."))

    def files(self, folder: str = "") -> list[FileInfo]:
        """Every file below ``folder``, also hidden leftovers of killed writers; sorted by path."""
        full = self._full(folder) if folder else self.root
        with self._reading(folder):
            try:
                found = self.fs.find(full, detail=True)
            except FileNotFoundError:
                return []
        infos = [
            FileInfo(path.removeprefix(self.root).lstrip("/"), int(info["size"] or 0), _modified(info))
            for path, info in found.items()
        ]
        return sorted(infos, key=lambda info: info.path)

    def delete(self, path: str) -> None:
        """Delete one file, which may be missing.

        :raises ArchiveNotWritableError: the storage refused.
        """
        with self._writing(path):
            try:
                self.fs.rm_file(self._full(path))
            except FileNotFoundError:
                return

    def delete_folder(self, folder: str) -> None:
        """Delete everything below ``folder``, which may be missing.

        :raises ArchiveNotWritableError: the storage refused.
        """
        with self._writing(folder):
            try:
                self.fs.rm(self._full(folder), recursive=True)
            except FileNotFoundError:
                return

    def delete_empty_folders(self, folder: str) -> None:
        """Remove ``folder`` and its parents as far as they are empty. Only local disks have folders of their own."""
        if not self._is_local:
            return
        path = Path(self._full(folder))
        while path != Path(self.root):
            for lock in path.glob(".*.lock"):
                if len(list(path.iterdir())) == 1:
                    lock.unlink(missing_ok=True)
            try:
                path.rmdir()
            except OSError:
                return  # not empty, or gone already
            path = path.parent

    @property
    def fs(self) -> fsspec.AbstractFileSystem:
        """The file system of this process. Connections and event loops do not survive a fork, so each has its own."""
        if self._pid != os.getpid():
            self._connect()
        return self._fs

    def _connect(self) -> None:
        protocol = fsspec.core.split_protocol(self._given)[0]
        options: dict[str, Any] = {"use_listings_cache": False}
        self._put_options: dict[str, Any] = {}
        if protocol in ("s3", "s3a"):
            options |= {"default_cache_type": "none", "config_kwargs": _s3_config()}
            self._put_options = {"chunksize": _SINGLE_PUT}
        try:
            self._fs, root = fsspec.url_to_fs(self._given, **(options | self._options))
        except (ImportError, ValueError) as error:
            raise ArchiveError(
                f"cannot open {self._given}: {error}. For s3:// addresses install videox2l[s3]; "
                "other storages need their fsspec package."
            ) from error
        self.root = root.rstrip("/")
        self._is_s3 = protocol in ("s3", "s3a")
        self._is_local = isinstance(self._fs, fsspec.implementations.local.LocalFileSystem)
        self._pid = os.getpid()

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}"

    def _map(self, part: Range) -> memoryview:
        with self._reading(part.path):
            return map_range(Path(self._full(part.path)), part.offset, part.length)

    def _read_range(self, part: Range) -> bytes:
        with self._reading(part.path):
            data: bytes = self.fs.cat_file(self._full(part.path), start=part.offset, end=part.offset + part.length)
        return data

    def _fetch(self, ranges: Sequence[Range]) -> list[bytes | memoryview]:
        found = self.fs.cat_ranges(
            [self._full(part.path) for part in ranges],
            [part.offset for part in ranges],
            [part.offset + part.length for part in ranges],
            on_error="return",
        )
        for part, result in zip(ranges, found, strict=True):
            if isinstance(result, BaseException) and not _out_of_range(result):
                with self._reading(part.path):
                    raise result
        return [b"" if isinstance(result, BaseException) else result for result in found]

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except NotADirectoryError as error:  # a file stands on the way, so there is nothing below it
            raise FileNotFoundError(path) from error
        except Exception as error:  # drivers raise types of their own, such as botocore's
            raise ArchiveError(
                f"cannot read {path} of {self.url}: {_reason(error)}. "
                "Check the address, the credentials and the connection."
            ) from error

    @contextmanager
    def _writing(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileExistsError as error:
            # Raised by the system: a file stands where a folder is needed.
            if self._is_local and error.errno and not Path(self._full(path)).exists():
                raise ArchiveNotWritableError(f"cannot write {path} to {self.url}: {_reason(error)}.") from error
            raise
        except Exception as error:
            raise ArchiveNotWritableError(
                f"cannot write {path} to {self.url}: {_reason(error)}. "
                "Check that it exists, that there is space, and that you may write there."
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {"_given": self._given, "_options": self._options, "url": self.url}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect()


def _s3_config() -> dict[str, Any]:
    # botocore's own checksums come as trailers that several S3 servers refuse. The manifest's checksums cover more:
    # from the writer's memory to the reader's.
    return {
        "request_checksum_calculation": os.environ.get("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required"),
        "response_checksum_validation": os.environ.get("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required"),
    }


def _s3_code(error: BaseException) -> str | None:
    """The error code of an S3 answer that s3fs translated into an ``OSError``, or None."""
    response = getattr(error.__cause__, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, Mapping) else None


def _etag(info: Mapping[str, Any]) -> str:
    for name in ("ETag", "etag"):
        if info.get(name):
            return str(info[name])
    raise OSError("the storage does not say which version of a file it has, so nothing in it can be replaced safely")


def _modified(info: Mapping[str, Any]) -> datetime:
    """When a file was written, from what the different drivers call it; now, where one does not say."""
    names = ("LastModified", "mtime", "created", "last_modified")
    value = next((info[name] for name in names if info.get(name) is not None), None)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        return datetime.now(UTC)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _out_of_range(error: BaseException) -> bool:
    return _s3_code(error) in ("InvalidRange", "416")


def _reason(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__
