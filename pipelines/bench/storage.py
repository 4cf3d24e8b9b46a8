"""How fast S3 clients read an archive's kind of ranges, side by side: ``videox2l bench storage``.

The yardstick is plain ranged GETs: kept-alive connections of Python's ``http.client`` and nothing else. All clients
take turns within each repeat, and ratios are formed within a repeat, so a machine that is busy now and then is fair.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Protocol
from urllib.parse import urlsplit

from rich.table import Table

from videox2l.errors import ConfigError
from videox2l.store.fetch import FetchConfig, Fetcher
from videox2l.store.range_sources import Data
from videox2l.store.storage import Range, Storage

OBJECT_BYTES = 64 * 2**20
"""As large as a low shard grows."""

FOLDER = "bench"

# A presigned address outlives the longest measurement.
_SIGNED_S = 3600


@dataclass(frozen=True)
class Case:
    """``count`` ranges of ``length`` bytes, ``concurrency`` of them at once."""

    name: str
    length: int
    count: int
    concurrency: int


CASES = (
    Case("2 MiB × 32, one at a time", 2 * 2**20, 32, 1),
    Case("2 MiB × 32, 8 at once", 2 * 2**20, 32, 8),
    Case("8 MiB × 8, one at a time", 8 * 2**20, 8, 1),
    Case("8 MiB × 8, 8 at once", 8 * 2**20, 8, 8),
    Case("256 KiB × 20, one at a time", 256 * 2**10, 20, 1),
)


class Client(Protocol):
    """One way to read ranges of the object at ``path``; opened anew for each cold read."""

    def read(self, ranges: Sequence[Range], concurrency: int) -> list[Data]:
        """The ranges in their order."""
        ...

    def close(self) -> None:
        """Drop all connections."""
        ...


@dataclass(frozen=True)
class Figure:
    """Medians over the repeats. Seconds; ``ratio``: speed of the warm read as a share of plain GETs' in its repeat.

    ``cpu_s``: processor seconds of this process for one warm read, all threads together.
    """

    client: str
    case: Case
    cold_s: float
    warm_s: float
    cpu_s: float
    ratio: float

    @property
    def mb_s(self) -> float:
        """Warm read, megabytes (10**6) a second."""
        return self.case.length * self.case.count / self.warm_s / 1e6


@dataclass(frozen=True)
class _Times:
    cold_s: float
    warm_s: float
    cpu_s: float


def measure(url: str, repeats: int = 5, cases: Sequence[Case] = CASES) -> list[Figure]:
    """Store an object below ``url`` (``s3://…``), read it with every client, delete it again.

    :param repeats: at least 1; each reads every case with every client, cold and warm.
    :raises ConfigError: no S3 address.
    :raises ~videox2l.errors.ArchiveError: the server refuses, or gave wrong bytes.
    """
    if not url.startswith(("s3://", "s3a://")):
        raise ConfigError(f"bench storage compares S3 clients, so it needs an s3:// address, got {url}")
    if repeats < 1:
        raise ConfigError(f"repeats must be at least 1, got {repeats}")
    storage = Storage(url)
    path, data = f"{FOLDER}/{secrets.token_hex(6)}", os.urandom(OBJECT_BYTES)
    storage.write(path, data)
    try:
        times: dict[tuple[Case, str], list[_Times]] = {(case, name): [] for case in cases for name in CLIENTS}
        for repeat in range(repeats):
            for case in cases:
                for name in _rotated(list(CLIENTS), repeat):
                    times[case, name].append(_time(partial(CLIENTS[name], storage, path), path, data, case))
    finally:
        storage.delete_folder(FOLDER)
    return [_figure(name, case, times[case, name], times[case, PLAIN]) for case in cases for name in CLIENTS]


def table(figures: Sequence[Figure]) -> Table:
    """The figures as a table, one row a client and case."""
    found = Table(title="Ranged reads from S3", title_justify="left")
    for column in ("ranges", "client"):
        found.add_column(column)
    for column in ("cold ms", "warm ms", "MB/s", "CPU ms", "of plain GETs"):
        found.add_column(column, justify="right")
    for figure in figures:
        if figure.client == PLAIN:
            found.add_section()
        seconds = (figure.cold_s, figure.warm_s)
        speeds = (f"{figure.mb_s:.0f}", f"{1000 * figure.cpu_s:.0f}", f"{100 * figure.ratio:.0f} %")
        found.add_row(figure.case.name, figure.client, *(f"{1000 * value:.1f}" for value in seconds), *speeds)
    return found


def _time(client_of: Callable[[], Client], path: str, data: bytes, case: Case) -> _Times:
    # Ranges may wrap around, so that any number of them fits into the object.
    starts = [index * case.length % len(data) for index in range(case.count)]
    ranges = [Range(path, start, case.length) for start in starts]
    began = time.perf_counter()
    client = client_of()
    try:
        cold = client.read(ranges, case.concurrency)
        cold_s = time.perf_counter() - began
        began, cpu_began = time.perf_counter(), time.process_time()
        warm = client.read(ranges, case.concurrency)
        warm_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    finally:
        client.close()
    expected = [data[start : start + case.length] for start in starts]
    if not cold == warm == expected:
        raise AssertionError(f"{type(client).__name__} read other bytes than were written")
    return _Times(cold_s, warm_s, cpu_s)


def _figure(name: str, case: Case, times: Sequence[_Times], plain: Sequence[_Times]) -> Figure:
    return Figure(
        name,
        case,
        median(one.cold_s for one in times),
        median(one.warm_s for one in times),
        median(one.cpu_s for one in times),
        median(yardstick.warm_s / one.warm_s for one, yardstick in zip(times, plain, strict=True)),
    )


def _rotated(names: Sequence[str], turns: int) -> list[str]:
    """Each client is first as often as the others."""
    turns %= len(names)
    return [*names[turns:], *names[:turns]]


class PlainGets:
    """The yardstick: one kept-alive HTTP connection a thread, presigned addresses, nothing tried again."""

    def __init__(self, storage: Storage, path: str) -> None:
        self._url = urlsplit(storage.fs.sign(f"{storage.root}/{path}", expiration=_SIGNED_S))
        self._local = threading.local()
        self._open: list[http.client.HTTPConnection] = []
        self._pool: ThreadPoolExecutor | None = None

    def read(self, ranges: Sequence[Range], concurrency: int) -> list[Data]:
        self._pool = self._pool or ThreadPoolExecutor(concurrency)
        return list(self._pool.map(self._get, ranges))

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown()
        for connection in self._open:
            connection.close()

    def _get(self, part: Range) -> Data:
        if not hasattr(self._local, "connection"):
            secure = self._url.scheme == "https"
            kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            self._local.connection = kind(self._url.netloc)
            self._open.append(self._local.connection)
        connection: http.client.HTTPConnection = self._local.connection
        headers = {"Range": f"bytes={part.offset}-{part.offset + part.length - 1}"}
        connection.request("GET", f"{self._url.path}?{self._url.query}", headers=headers)
        return connection.getresponse().read()


class _S3fs:
    """s3fs, as the storage uses it."""

    def __init__(self, storage: Storage, path: str) -> None:
        options = storage.fs.storage_options | {"skip_instance_cache": True}
        self._fs = type(storage.fs)(**options)
        self._path = f"{storage.root}/{path}"

    def read(self, ranges: Sequence[Range], concurrency: int) -> list[Data]:
        starts, ends = [part.offset for part in ranges], [part.offset + part.length for part in ranges]
        found: list[Data] = self._fs.cat_ranges([self._path] * len(ranges), starts, ends, batch_size=concurrency)
        return found

    def close(self) -> None:
        self._fs.close_session(self._fs.loop, self._fs.s3)


class _Arrow:
    """pyarrow's S3FileSystem: ``read_at`` in threads. Opening the file costs a request more."""

    def __init__(self, storage: Storage, path: str) -> None:
        from pyarrow.fs import S3FileSystem

        meta = storage.fs.s3.meta
        address = urlsplit(meta.endpoint_url)
        fs = S3FileSystem(
            access_key=storage.fs.key,
            secret_key=storage.fs.secret,
            endpoint_override=address.netloc,
            scheme=address.scheme,
            region=meta.region_name or "us-east-1",
        )
        self._file = fs.open_input_file(f"{storage.root}/{path}")
        self._pool: ThreadPoolExecutor | None = None

    def read(self, ranges: Sequence[Range], concurrency: int) -> list[Data]:
        self._pool = self._pool or ThreadPoolExecutor(concurrency)
        return list(self._pool.map(lambda part: self._file.read_at(part.length, part.offset), ranges))

    def close(self) -> None:
        self._file.close()
        if self._pool:
            self._pool.shutdown()


class _Fetcher:
    """Ours: a thread a request, with retries, hedging and deadlines, driven by an event loop of its own."""

    def __init__(self, storage: Storage, _: str) -> None:
        self._storage = storage
        self._loop = asyncio.new_event_loop()
        self._fetcher: Fetcher | None = None

    def read(self, ranges: Sequence[Range], concurrency: int) -> list[Data]:
        self._fetcher = self._fetcher or Fetcher(self._storage, FetchConfig(concurrency=concurrency))
        return self._loop.run_until_complete(self._fetcher.fetch(ranges))

    def close(self) -> None:
        if self._fetcher:
            self._loop.run_until_complete(self._fetcher.aclose())
        self._loop.close()


class _Obstore:
    """obstore alone, with its own retries."""

    def __init__(self, storage: Storage, _: str) -> None:
        from obstore.store import S3Store

        meta = storage.fs.s3.meta
        bucket, _, prefix = storage.root.partition("/")
        # Without keys it looks for them where AWS's own tools do.
        keys = {"access_key_id": storage.fs.key, "secret_access_key": storage.fs.secret} if storage.fs.key else {}
        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            endpoint=meta.endpoint_url,
            region=meta.region_name or "us-east-1",
            virtual_hosted_style_request=False,
            client_options={"allow_http": meta.endpoint_url.startswith("http:")},
            **keys,
        )
        self._loop = asyncio.new_event_loop()

    def read(self, ranges: Sequence[Range], concurrency: int) -> list[Data]:
        return self._loop.run_until_complete(self._read(ranges, asyncio.Semaphore(concurrency)))

    async def _read(self, ranges: Sequence[Range], slots: asyncio.Semaphore) -> list[Data]:
        async def read(part: Range) -> Data:
            async with slots:
                found = await self._store.get_range_async(part.path, start=part.offset, length=part.length)
                return memoryview(found)

        return await asyncio.gather(*map(read, ranges))

    def close(self) -> None:
        self._loop.close()


PLAIN = "plain GETs"
CLIENTS: dict[str, Callable[[Storage, str], Client]] = {
    PLAIN: PlainGets,
    "s3fs": _S3fs,
    "pyarrow": _Arrow,
    "obstore": _Obstore,
    "Fetcher": _Fetcher,
}
