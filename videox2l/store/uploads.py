"""Uploads behind the caller's back, so that the GPU does not wait for the network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context

from videox2l.store.storage import Storage

# Two connections hide one another's latency. More would take bandwidth from other writers of the machine.
_THREADS = 2

# Files waiting or under way. It bounds memory: four low shards are 256 MiB.
_PENDING = 4


class UploadQueue:
    """Stores files in background threads, at most a few at a time. Not safe to use from several threads."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="videox2l-upload")
        self._free = threading.BoundedSemaphore(_PENDING)
        self._futures: list[Future[None]] = []

    def put(self, path: str, data: bytes) -> None:
        """Take over ``data``. Waits while the queue is full; raises the first error of an earlier upload."""
        self.raise_errors()
        self._free.acquire()
        self._futures.append(self._pool.submit(copy_context().run, self._upload, path, data))

    def put_last(self, path: str, make: Callable[[], bytes], stored: Callable[[], None]) -> None:
        """Once everything put before is stored, store what ``make`` returns, and call ``stored``; in the background."""
        self.raise_errors()
        self._free.acquire()
        # The pool begins its work in order, so what is waited for is under way or done: nothing waits for ever.
        self._futures.append(
            self._pool.submit(copy_context().run, self._upload_after, list(self._futures), path, make, stored)
        )

    def drain(self) -> None:
        """Wait until everything is stored, and raise the first error."""
        self._pool.shutdown(wait=True)
        self.raise_errors()

    def cancel(self) -> None:
        """Drop what has not begun and wait for the rest. Errors are of no interest any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _upload(self, path: str, data: bytes) -> None:
        try:
            self._storage.write(path, data)
        finally:
            self._free.release()

    def _upload_after(
        self, earlier: Sequence[Future[None]], path: str, make: Callable[[], bytes], stored: Callable[[], None]
    ) -> None:
        try:
            for future in earlier:
                future.result()
            self._storage.write(path, make())
            stored()
        finally:
            self._free.release()

    def raise_errors(self) -> None:
        """Raise the first error of the uploads that have ended."""
        for future in self._futures:
            if future.done():
                future.result()
        self._futures = [future for future in self._futures if not future.done()]
