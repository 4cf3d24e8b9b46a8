"""Ranges of an S3 server's objects by plain HTTP: one signed GET each, in a thread that can be called off.

Nothing is repeated here: :class:`~videox2l.store.fetch.Fetcher` alone decides what is tried again, so deadlines hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import fsspec.asyn
import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import get_cert_path
from urllib3.connection import HTTPConnection, HTTPSConnection

from videox2l.errors import ArchiveError
from videox2l.store.range_sources import Data, TransientError
from videox2l.store.storage import Range, Storage

# How long credentials that expire are used before they are asked for again, in seconds. AWS renews them 10 min or more
# before they end.
_CREDENTIALS_S = 300.0

# A connection that is not there after this many seconds will not come. Reading has no limit of its own: who reads has.
_CONNECT_S = 5.0

# Statuses besides 5xx that say "not now": request timeout, too many requests.
_BUSY = (408, 429)

# An error's document is a few hundred bytes; what is larger is not one.
_LONGEST_ERROR = 2**16


class S3Source:
    """An S3 server, reached with the endpoint, region, credentials and certificates that ``storage`` itself uses."""

    repeatable = True

    def __init__(self, storage: Storage, concurrency: int) -> None:
        fs = storage.fs
        meta = fs.s3.meta  # connects if need be, and so resolves variables, profiles and storage options
        self._url = storage.url
        self._address = f"{meta.endpoint_url.rstrip('/')}/{storage.root}"
        self._region = meta.region_name or "us-east-1"
        self._credentials = None if fs.anon else _CurrentCredentials(fs)
        # A read that is sent twice, because it is slow, takes a second thread and connection.
        threads = 2 * concurrency
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="videox2l-s3")
        self._http = _connections(self._address, threads, (fs.client_kwargs or {}).get("verify"))
        self._running: set[_Call] = set()

    async def read(self, part: Range) -> Data:
        if part.length == 0:
            return b""
        call = _Call()
        self._running.add(call)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._get, part, call)
        except asyncio.CancelledError:
            call.off()
            raise
        finally:
            self._running.discard(call)

    def close(self) -> None:
        for call in list(self._running):
            call.off()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    def _get(self, part: Range, call: _Call) -> Data:
        url = f"{self._address}/{quote(part.path)}"
        request = AWSRequest("GET", url, headers={"Range": f"bytes={part.offset}-{part.offset + part.length - 1}"})
        if self._credentials is not None:
            S3SigV4Auth(self._credentials.now(), "s3", self._region).add_auth(request)
        with call:
            try:
                response = self._http.urlopen(
                    "GET",
                    url,
                    headers=dict(request.headers.items()),
                    preload_content=False,
                    decode_content=False,
                    retries=False,
                    redirect=False,
                    timeout=urllib3.Timeout(connect=_CONNECT_S, read=None),
                )
                return self._body(part, response)
            except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
                if isinstance(error, FileNotFoundError):
                    raise
                raise TransientError(str(error)) from error

    def _body(self, part: Range, response: urllib3.BaseHTTPResponse) -> Data:
        if response.status == 206:
            found = re.match(r"bytes (\d+)-(\d+)/", response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != part.offset or not 0 <= int(found[2]) - part.offset < part.length:
                response.close()
                raise ArchiveError(f"cannot read {part.path} of {self._url}: the server sent another range.")
            expected = int(found[2]) - part.offset + 1
            data = response.read(expected, decode_content=False)
            if len(data) < expected:
                response.close()
                raise TransientError(f"broken off after {len(data)} of {expected} bytes")
            return data
        reason = _reason(response)
        response.close()
        if response.status == 416:  # it ends before the range begins
            return b""
        if response.status == 404:
            raise FileNotFoundError(part.path)
        if response.status >= 500 or response.status in _BUSY or "RequestTimeout" in reason:
            raise TransientError(reason)
        raise ArchiveError(
            f"cannot read {part.path} of {self._url}: {reason}. Check the address, the region and the credentials."
        )


class _Call:
    """A request that may be called off from another thread: what runs inside ``with call`` ends with an error then."""

    _of_thread = threading.local()

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._off = False

    def off(self) -> None:
        with self._lock:
            self._off = True
            if self._socket is not None:
                _end(self._socket)

    def uses(self, connection: socket.socket) -> None:
        with self._lock:
            self._socket = connection
            if self._off:
                _end(connection)

    @classmethod
    def current(cls) -> _Call | None:
        """The call that this thread is inside of."""
        return getattr(cls._of_thread, "call", None)

    def __enter__(self) -> None:
        self._of_thread.call = self

    def __exit__(self, *_: object) -> None:
        self._of_thread.call = None
        with self._lock:
            self._socket = None  # the connection serves others now


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the server may have been faster
        connection.shutdown(socket.SHUT_RDWR)  # unlike close(), wakes a thread that is reading from it


class _Noted:
    """Of a connection: tells the call that sends a request over it which socket that is."""

    def putrequest(self, *args: Any, **options: Any) -> None:
        if getattr(self, "sock", None) is None:
            self.connect()  # type: ignore[attr-defined]
        if (call := _Call.current()) is not None:
            call.uses(self.sock)  # type: ignore[attr-defined]
        super().putrequest(*args, **options)  # type: ignore[misc]


class _HTTPConnection(_Noted, HTTPConnection):
    pass


class _HTTPSConnection(_Noted, HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


def _connections(address: str, count: int, verify: bool | str | None) -> urllib3.PoolManager:
    """Connections that are kept, through a proxy where the environment names one, with botocore's certificates."""
    parts = urlsplit(address)
    verify = verify if verify is not None else os.environ.get("AWS_CA_BUNDLE", True)
    trust: dict[str, Any] = {"cert_reqs": "CERT_NONE"} if verify is False else {"ca_certs": get_cert_path(verify)}
    proxy = urllib.request.getproxies().get(parts.scheme)
    direct = proxy is None or urllib.request.proxy_bypass(parts.hostname or "")
    options: dict[str, Any] = {"maxsize": count, **trust}
    manager = urllib3.PoolManager(**options) if direct else urllib3.ProxyManager(str(proxy), **options)
    manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    return manager


class _CurrentCredentials:
    """The credentials of an s3fs file system, asked for again before they can have expired.

    :raises ArchiveError: there are none; already when it is made, rather than in the first read.
    """

    def __init__(self, fs: Any) -> None:
        self._fs = fs
        self._lock = threading.Lock()
        self._until = float("inf")
        self._found = Credentials(fs.key, fs.secret, fs.token) if fs.key and fs.secret else self._ask()

    def now(self) -> Credentials:
        with self._lock:
            if time.monotonic() > self._until:
                self._found = self._ask()
            return self._found

    def _ask(self) -> Credentials:
        keys = fsspec.asyn.sync(self._fs.loop, self._frozen)
        if keys.token:
            self._until = time.monotonic() + _CREDENTIALS_S
        return Credentials(keys.access_key, keys.secret_key, keys.token)

    async def _frozen(self) -> Any:
        found = await self._fs.session.get_credentials()
        if found is None:
            raise ArchiveError("no credentials for S3. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile.")
        return await found.get_frozen_credentials()


def _reason(response: urllib3.BaseHTTPResponse) -> str:
    """What the server says is wrong: the status, and code and message of S3's error document where there is one."""
    text = response.read(_LONGEST_ERROR, decode_content=False).decode(errors="replace")
    said = [found[1] for tag in ("Code", "Message") if (found := re.search(f"<{tag}>([^<]*)</{tag}>", text))]
    return ": ".join([f"HTTP status {response.status}", *said])
