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
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import fsspec.asyn
import numpy as np
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import get_cert_path
from urllib3.util import wait_for_read

from videox2l.errors import ArchiveError
from videox2l.store.range_sources import Consumer, Data, TransientError
from videox2l.store.storage import Range, Storage

T = TypeVar("T")

# How long credentials that expire are used before they are asked for again, in seconds. AWS renews them 10 min or more
# before they end.
_CREDENTIALS_S = 300.0

# A connection that is not there after this many seconds will not come. Reading has no limit of its own: who reads has.
_CONNECT_S = 5.0

# Statuses besides 5xx that say "not now": request timeout, too many requests.
_BUSY = (408, 429)

# Received at a time. Half a processor's own cache (1 to 2 MiB), where it still is when its checksum is taken.
_PIECE = 2**19

# An error's document is a few hundred bytes; what is larger is not one.
_LONGEST_ERROR = 2**16


class S3Source:
    """An S3 server, reached with the endpoint, region, credentials and certificates that ``storage`` itself uses."""

    repeatable = True

    def __init__(self, storage: Storage, concurrency: int) -> None:
        fs = storage.fs
        meta = fs.s3.meta  # connects if need be, and so resolves variables, profiles and storage options
        self._url = storage.url
        self._address = "/".join((meta.endpoint_url.rstrip("/"), quote(storage.root)))
        self._region = meta.region_name or "us-east-1"
        self._credentials = None if fs.anon else _CurrentCredentials(fs)
        self._connections = _Connections(self._address, (fs.client_kwargs or {}).get("verify"))
        # A read that is sent twice, because it is slow, takes a second thread and connection.
        self._pool = ThreadPoolExecutor(2 * concurrency, thread_name_prefix="videox2l-s3")
        self._running: set[_Call] = set()

    async def read(self, part: Range, consumer: Consumer[T]) -> T:
        call = _Call()
        self._running.add(call)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._get, part, call, consumer)
        except asyncio.CancelledError:
            call.off()
            raise
        finally:
            self._running.discard(call)

    def close(self) -> None:
        for call in list(self._running):
            call.off()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._connections.close()

    def _get(self, part: Range, call: _Call, consumer: Consumer[T]) -> T:
        return consumer.whole(self._fetch(part, call, consumer) if part.length else b"")

    def _fetch(self, part: Range, call: _Call, consumer: Consumer[Any]) -> Data:
        url = f"{self._address}/{quote(part.path)}"
        request = AWSRequest("GET", url, headers={"Range": f"bytes={part.offset}-{part.offset + part.length - 1}"})
        if self._credentials is not None:
            S3SigV4Auth(self._credentials.now(), "s3", self._region).add_auth(request)
        try:
            with self._connections.one() as connection, call.uses(connection.sock):
                connection.request("GET", self._connections.target(url), headers=dict(request.headers.items()))
                response = connection.getresponse()
                data = self._body(part, response, consumer)
                if not response.isclosed():  # more is coming, which nobody wants
                    connection.close()
                return data
        except FileNotFoundError:
            raise
        except (http.client.HTTPException, OSError) as error:
            raise TransientError(str(error) or type(error).__name__) from error

    def _body(self, part: Range, response: http.client.HTTPResponse, consumer: Consumer[Any]) -> Data:
        if response.status == 206:
            return self._content(part, response, consumer)
        reason = _reason(response)
        if response.status == 416:  # it ends before the range begins
            return b""
        if response.status == 404:
            raise FileNotFoundError(part.path)
        if response.status >= 500 or response.status in _BUSY or "RequestTimeout" in reason:
            raise TransientError(reason)
        raise ArchiveError(
            f"cannot read {part.path} of {self._url}: {reason}. Check the address, the region and the credentials."
        )

    def _content(self, part: Range, response: http.client.HTTPResponse, consumer: Consumer[Any]) -> Data:
        found = re.match(r"bytes (\d+)-(\d+)/", response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != part.offset or not 0 <= int(found[2]) - part.offset < part.length:
            raise ArchiveError(f"cannot read {part.path} of {self._url}: the server sent another range.")
        # Into memory that nobody has written zeros to, and from the socket straight to where it stays.
        data = np.empty(int(found[2]) - part.offset + 1, np.uint8).data
        count = 0
        while count < len(data):
            piece = data[count : count + _PIECE]
            received = response.readinto(piece)
            if not received:
                raise TransientError(f"broken off after {count} of {len(data)} bytes")
            consumer.piece(piece[:received])
            count += received
        return data


class _Call:
    """A request that may be called off from another thread: it ends with an error then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._off = False

    def off(self) -> None:
        with self._lock:
            self._off = True
            self._end()

    @contextlib.contextmanager
    def uses(self, connection: socket.socket) -> Iterator[None]:
        """What runs inside is what can be called off."""
        with self._lock:
            self._socket = connection
            if self._off:
                self._end()
        try:
            yield
        finally:
            with self._lock:
                self._socket = None  # the connection serves others now

    def _end(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # the server may have been faster
                self._socket.shutdown(socket.SHUT_RDWR)  # unlike close(), wakes a thread that is reading from it


class _Connections:
    """Connections to one server that are kept, through a proxy where the environment names one.

    Certificates are checked as botocore does. Python's own HTTP, since urllib3 takes half a millisecond more a request.
    """

    def __init__(self, address: str, verify: bool | str | None) -> None:
        self._server = urlsplit(address)
        self._secure = self._server.scheme == "https"
        proxy = urllib.request.getproxies().get(self._server.scheme)
        direct = proxy is None or urllib.request.proxy_bypass(self._server.hostname or "")
        self._proxy = None if direct else urlsplit(str(proxy))
        self._context = _trust(verify) if self._secure else None
        self._free: list[http.client.HTTPConnection] = []
        self._closed = False

    @contextlib.contextmanager
    def one(self) -> Iterator[http.client.HTTPConnection]:
        """A connection for one exchange; it is kept if it is open afterwards.

        :raises OSError: none can be made.
        """
        connection = self._take()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        if self._closed:
            connection.close()
        elif connection.sock is not None:
            self._free.append(connection)

    def target(self, url: str) -> str:
        """What a request's first line names: the path, or for a proxy that must know the server, everything."""
        if self._proxy is not None and not self._secure:
            return url
        return urlsplit(url).path

    def close(self) -> None:
        self._closed = True
        while self._free:
            self._free.pop().close()

    def _take(self) -> http.client.HTTPConnection:
        while self._free:
            try:
                connection = self._free.pop()
            except IndexError:  # another thread was faster
                break
            # A server that ended the connection meanwhile has said so: there is something to read, the end.
            if not wait_for_read(connection.sock, timeout=0.0):
                return connection
            connection.close()
        connection = self._new()
        connection.connect()
        connection.sock.settimeout(None)
        return connection

    def _new(self) -> http.client.HTTPConnection:
        at = self._proxy or self._server
        host, port = at.hostname or "", at.port
        if self._context is None:
            return http.client.HTTPConnection(host, port, timeout=_CONNECT_S)
        connection = http.client.HTTPSConnection(host, port, timeout=_CONNECT_S, context=self._context)
        if self._proxy is not None:
            connection.set_tunnel(self._server.hostname or "", self._server.port or 443)
        return connection


def _trust(verify: bool | str | None) -> ssl.SSLContext:
    """As botocore: its own list of authorities, the variable AWS_CA_BUNDLE, a file, or none (False)."""
    verify = verify if verify is not None else os.environ.get("AWS_CA_BUNDLE", True)
    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    return ssl.create_default_context(cafile=get_cert_path(verify))


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


def _reason(response: http.client.HTTPResponse) -> str:
    """What the server says is wrong: the status, and code and message of S3's error document where there is one."""
    text = response.read(_LONGEST_ERROR).decode(errors="replace")
    said = [found[1] for tag in ("Code", "Message") if (found := re.search(f"<{tag}>([^<]*)</{tag}>", text))]
    return ": ".join([f"HTTP status {response.status}", *said])
