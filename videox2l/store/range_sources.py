"""Where the hot read path gets one range from: S3 by plain HTTP, everything else through the archive's storage.

A thread a request, because KVs are large and Python's part in a request is small: a range goes from the socket into
the memory that becomes tensors, and nowhere in between, and is checked while the processor still has it at hand.
Clients that collect pieces and join them take up to twice the processor time (see docs/measurements.md).
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from videox2l.errors import ArchiveError
from videox2l.store.storage import Range, Storage

Data = bytes | memoryview
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class TransientError(Exception):
    """A read failed in a way that the next try may not."""


class Consumer(Protocol[T_co]):
    """Takes in one range while it is read, in the thread that reads it."""

    def piece(self, data: memoryview) -> None:
        """The next bytes, which the processor has just touched."""
        ...

    def whole(self, data: Data) -> T_co:
        """All of them, in one piece of memory: what is made of the range."""
        ...


class Source(Protocol):
    """Reads one range. Cancelling :meth:`read` ends it at once; a thread finishes its range unheard."""

    repeatable: bool
    """Whether a second request is any use: some threads cannot be cancelled, and a local disk gains nothing."""

    async def read(self, part: Range, consumer: Consumer[T]) -> T:
        """What ``consumer``, which is used for nothing else, makes of the range. It is cut short where the file ends.

        :raises FileNotFoundError: there is no such file.
        :raises TransientError: throttled, broken off, or the server's fault.
        :raises ArchiveError: anything else; and what ``consumer`` raises.
        """
        ...

    def close(self) -> None:
        """Free threads and connections."""
        ...


def open_source(storage: Storage, concurrency: int) -> Source:
    """The fastest source for ``storage``. Blocks while it looks up credentials.

    :param concurrency: reads at once.
    :raises ArchiveError: no credentials for S3.
    """
    protocols = storage.fs.protocol
    if "s3" not in ((protocols,) if isinstance(protocols, str) else protocols):
        return StorageSource(storage, concurrency)
    try:
        from videox2l.store.s3_source import S3Source

        return S3Source(storage, concurrency)
    except ArchiveError:
        raise
    except Exception as error:  # botocore's own types
        raise ArchiveError(f"cannot read {storage.url}: {error}. Check the address and the credentials.") from error


class StorageSource:
    """Any storage, in threads of its own."""

    repeatable = False

    def __init__(self, storage: Storage, threads: int) -> None:
        self._storage = storage
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="videox2l-fetch")

    async def read(self, part: Range, consumer: Consumer[T]) -> T:
        def run() -> T:
            [data] = self._storage.read_ranges([part])
            consumer.piece(memoryview(data))
            return consumer.whole(data)

        return await asyncio.get_running_loop().run_in_executor(self._pool, run)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
