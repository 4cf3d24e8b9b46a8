"""A storage that is given time: what it fails at for a while is tried again, what it refuses is not.

Object storage throttles, restarts and loses connections, and a prefill of many hours should not end of that. A refusal
will still be one in a minute, and so will a full disk, so those are said at once.
"""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, ParamSpec, TypeVar

from videox2l.errors import ArchiveError, ArchiveNotWritableError, CorruptDataError
from videox2l.store.storage import FileInfo, Range, Storage

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# Pauses double between these, in seconds: soon enough for a hiccup, seldom enough for a server that is coming up.
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_CODES = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"}

# Of local and network file systems. Anything else that a file system says will not change by waiting.
_PASSING = {
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.EIO,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENOTCONN,
    errno.EPIPE,
    errno.ESTALE,
    errno.ETIMEDOUT,
}

# S3's codes that come with a status which would otherwise be final.
_PASSING_CODES = {"RequestTimeout", "Throttling", "ThrottlingException", "SlowDown", "RequestTimeTooSkewed"}
_PASSING_STATUSES = {408, 425, 429}

# Drivers' own types, by name: none of these packages need be installed.
_PASSING_TYPES = {
    "ConnectionError",  # Python's, and requests'
    "TimeoutError",
    "HTTPClientError",  # botocore: no connection, cut connection, no answer in time
    "IncompleteReadError",
    "ClientConnectionError",  # aiohttp
    "ClientPayloadError",
    "FSTimeoutError",
}

Fault = Literal["passing", "full", "refused"]


class StorageFailedError(ArchiveNotWritableError):
    """The archive's storage refuses, or has not answered for as long as it was given. No video can be ingested."""


class StorageFullError(StorageFailedError):
    """There is no room left in the archive."""


class PatientStorage(Storage):
    """The same as :class:`Storage`, but faults that may pass are waited out for up to ``patience_s`` seconds.

    What it raises otherwise is a :class:`StorageFailedError` instead of other errors of the storage. As in all of
    these, a request whose answer was lost is repeated, so :meth:`create` may then meet what it stored itself.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None, patience_s: float) -> None:
        super().__init__(url, storage_options)
        self._patience_s = patience_s

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes | memoryview]:
        return self._try(super().read_ranges, ranges)

    def version(self, path: str) -> str | None:
        return self._try(super().version, path)

    def write(self, path: str, data: bytes) -> None:
        self._try(super().write, path, data)

    def create(self, path: str, data: bytes) -> None:
        self._try(super().create, path, data)

    def swap(self, path: str, data: bytes, version: str) -> None:
        self._try(super().swap, path, data, version)

    def exists(self, path: str) -> bool:
        return self._try(super().exists, path)

    def names(self, folder: str) -> list[str]:
        return self._try(super().names, folder)

    def files(self, folder: str = "") -> list[FileInfo]:
        return self._try(super().files, folder)

    def delete(self, path: str) -> None:
        self._try(super().delete, path)

    def delete_folder(self, folder: str) -> None:
        self._try(super().delete_folder, folder)

    def _try(self, operation: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        began, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while True:
            try:
                return operation(*args, **kwargs)
            except (StorageFailedError, CorruptDataError):
                raise
            except ArchiveError as error:
                fault, waited_s = fault_of(error), time.monotonic() - began
                if fault == "full":
                    raise StorageFullError(f"{error} {self._room()}") from error
                if fault == "refused":
                    raise StorageFailedError(str(error)) from error
                if waited_s + pause_s > self._patience_s:
                    raise StorageFailedError(f"{error} Tried again for {waited_s:.0f} s.") from error
                logger.warning("%s Trying again in %.1f s.", error, pause_s)
            # Random, so that writers refused together do not come back together.
            time.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _room(self) -> str:
        free = self.free_bytes()
        return "Its quota or its disks are exhausted." if free is None else f"{free / 2**20:.1f} MiB are free there."

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_patience_s": self._patience_s}


def patient(storage: Storage, patience_s: float) -> PatientStorage:
    """``storage``, given time."""
    return PatientStorage(storage._given, storage._options, patience_s)


def fault_of(error: BaseException) -> Fault:
    """What an error of a :class:`Storage` means, by what the driver raised beneath it."""
    causes = list(_causes(error))
    for cause in causes:
        code, status = _answer(cause)
        if code in _FULL_CODES or status == 507 or (isinstance(cause, OSError) and cause.errno in _FULL):
            return "full"
    for cause in causes:
        code, status = _answer(cause)
        if status is not None or code is not None:
            passing = code in _PASSING_CODES or status in _PASSING_STATUSES or (status is not None and status >= 500)
            return "passing" if passing else "refused"
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in _PASSING:
            return "passing"
        if _PASSING_TYPES & {kind.__name__ for kind in type(cause).__mro__}:
            return "passing"
    return "refused"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen = error.__cause__
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _answer(error: BaseException) -> tuple[str | None, int | None]:
    """Error code and HTTP status of a server's answer, as far as ``error`` has them."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return response.get("Error", {}).get("Code"), status if isinstance(status, int) else None
    for name in ("status_code", "status", "code"):  # Azure, aiohttp, Google
        if isinstance(status := getattr(error, name, None), int):
            return None, status
    return None, None
