"""Where the hot read path gets one range from: S3 through obstore, everything else through the archive's storage.

obstore reads in native threads that do not hold Python's lock, with half the processor time of s3fs or less. Its own
repeats are off: :class:`~videox2l.store.fetch.Fetcher` alone decides what is tried again, so that deadlines hold.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import fsspec.asyn

from videox2l.errors import ArchiveError
from videox2l.store.storage import Range, Storage

if TYPE_CHECKING:
    from obstore.store import S3Store

Data = bytes | memoryview

# How long credentials that expire are used before they are asked for again. AWS renews them 10 min or more before.
_CREDENTIALS = timedelta(minutes=5)

# Statuses besides 5xx that say "not now": request timeout, too many requests.
_BUSY = (408, 429)


class TransientError(Exception):
    """A read failed in a way that the next try may not."""


class Source(Protocol):
    """Reads one range. Cancelling :meth:`read` ends it at once; a thread finishes its range unheard."""

    repeatable: bool
    """Whether a second request is any use: threads cannot be cancelled, and a local disk gains nothing."""

    async def read(self, part: Range) -> Data:
        """The range, cut short where the file ends.

        :raises FileNotFoundError: there is no such file.
        :raises TransientError: throttled, broken off, or the server's fault.
        :raises ArchiveError: anything else.
        """
        ...

    def close(self) -> None:
        """Free threads and connections."""
        ...


def open_source(storage: Storage, threads: int) -> Source:
    """The fastest source for ``storage``. Blocks while it looks up credentials.

    :param threads: reads at once where reading takes a thread.
    :raises ArchiveError: S3 without obstore, or no credentials.
    """
    protocols = storage.fs.protocol
    if "s3" in ((protocols,) if isinstance(protocols, str) else protocols):
        return S3Source(storage)
    return StorageSource(storage, threads)


class StorageSource:
    """Any storage, in threads of its own."""

    repeatable = False

    def __init__(self, storage: Storage, threads: int) -> None:
        self._storage = storage
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="videox2l-fetch")

    async def read(self, part: Range) -> Data:
        [data] = await asyncio.get_running_loop().run_in_executor(self._pool, self._storage.read_ranges, [part])
        return data

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class S3Source:
    """An S3 server, reached with the endpoint, region and credentials that ``storage`` itself uses."""

    repeatable = True

    def __init__(self, storage: Storage) -> None:
        try:
            from obstore import get_range_async
        except ImportError as error:
            raise ArchiveError(f"cannot read {storage.url}: {error}. Install videox2l[s3].") from error
        self._url = storage.url
        self._get_range = get_range_async
        try:
            self._store = s3_store(storage)
        except Exception as error:  # botocore's own types
            raise ArchiveError(f"cannot read {storage.url}: {error}. Check the address and the credentials.") from error

    async def read(self, part: Range) -> Data:
        if part.length == 0:
            return b""
        try:
            found = await self._get_range(self._store, part.path, start=part.offset, length=part.length)
        except FileNotFoundError as error:
            raise FileNotFoundError(part.path) from error
        except Exception as error:
            reason = str(error).partition("\n\nDebug source")[0]
            status = _status(reason)
            if status == 416:  # it ends before the range begins
                return b""
            if status is None or status >= 500 or status in _BUSY:
                raise TransientError(reason) from error
            raise ArchiveError(
                f"cannot read {part.path} of {self._url}: {reason}. Check the address, the region and the credentials."
            ) from error
        return memoryview(found)

    def close(self) -> None:
        """obstore closes its connections when the last reference goes."""


def _status(reason: str) -> int | None:
    """The HTTP status in an error's text, the only place where obstore has it; None if no answer came."""
    found = re.search(r"status code: (\d{3})", reason)
    return int(found[1]) if found else None


def s3_store(storage: Storage) -> S3Store:
    """An obstore store for the folder of ``storage``, which is on S3."""
    from obstore.store import S3Store

    fs = storage.fs
    bucket, _, prefix = storage.root.partition("/")
    client = fs.s3.meta  # connects if need be, and so resolves variables, profiles and storage options
    return S3Store(
        bucket,
        prefix=prefix or None,
        endpoint=client.endpoint_url,
        region=client.region_name or "us-east-1",
        virtual_hosted_style_request=False,
        skip_signature=bool(fs.anon),
        credential_provider=None if fs.anon else _credentials(fs),
        # The fetcher bounds each request; obstore would otherwise end long ones at 30 s.
        client_options={"allow_http": client.endpoint_url.startswith("http:"), "timeout": timedelta(days=1)},
        retry_config={"max_retries": 0},
    )


def _credentials(fs: Any) -> Callable[[], Any]:
    """Asks for the credentials of an s3fs file system, in the form that obstore wants."""
    if fs.key and fs.secret:
        fixed = {"access_key_id": fs.key, "secret_access_key": fs.secret, "token": fs.token, "expires_at": None}
        return lambda: fixed

    async def frozen() -> Any:
        found = await fs.session.get_credentials()
        if found is None:
            raise ArchiveError("no credentials for S3. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile.")
        return await found.get_frozen_credentials()

    def ask() -> Any:
        keys = fsspec.asyn.sync(fs.loop, frozen)
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS if keys.token else None,
        }

    ask()  # says now, rather than in the first read, that there are none
    return ask
