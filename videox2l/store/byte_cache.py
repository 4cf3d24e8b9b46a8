"""Loaded values within a budget of bytes: one load a key however many ask at once, least recently used out first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class CacheStats:
    """``bytes`` in the cache, ``hits`` (a value was there, or on its way) and ``misses`` (it had to be loaded)."""

    values: int
    bytes: int
    hits: int
    misses: int


@dataclass
class _Entry(Generic[V]):
    future: Future[V] = field(default_factory=Future)
    size: int = 0


class ByteCache(Generic[K, V]):
    """Thread-safe. An evicted value lives on for those who hold it.

    A single value larger than the budget is kept until another takes its place: loading it for every question again
    would save nothing while it is used. A budget of 0 keeps nothing.
    """

    def __init__(self, size: Callable[[V], int], budget: int) -> None:
        self._size, self._budget = size, budget
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = self._hits = self._misses = 0

    def stats(self) -> CacheStats:
        """Counts since the start, and what is there now."""
        with self._lock:
            return CacheStats(len(self._entries), self._bytes, self._hits, self._misses)

    def get(self, key: K, load: Callable[[], V]) -> V:
        """The value of ``key``, loaded where it is not there. A load that fails is not remembered."""
        with self._lock:
            entry = self._entries.get(key)
            mine = entry is None
            if entry is None:
                entry = self._entries[key] = _Entry()
            self._entries.move_to_end(key)
            self._hits += not mine
            self._misses += mine
        if mine:
            self._fill(key, entry, load)
        return entry.future.result()

    def find(self, key: K) -> V | None:
        """The value of ``key`` if it is there; never loads or waits. Counts as a hit, but not as a miss."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or not entry.future.done():
                return None
            self._entries.move_to_end(key)
            self._hits += 1
            return entry.future.result()

    def recent(self, wanted: Callable[[K], bool]) -> list[tuple[K, V]]:
        """Keys that are ``wanted``, with their values, the one that was used last first. Counts and moves nothing.

        Without those that are being loaded.
        """
        with self._lock:
            entries = [(key, entry.future) for key, entry in reversed(self._entries.items()) if wanted(key)]
            return [(key, future.result()) for key, future in entries if future.done() and not future.exception()]

    def discard(self, key: K) -> None:
        """Forget ``key``, so that it is loaded anew."""
        with self._lock:
            entry = self._entries.pop(key, None)
            self._bytes -= entry.size if entry is not None else 0

    def _fill(self, key: K, entry: _Entry[V], load: Callable[[], V]) -> None:
        try:
            value = load()
            size = self._size(value)
        except BaseException as error:
            with self._lock:
                if self._entries.get(key) is entry:
                    del self._entries[key]
            entry.future.set_exception(error)
            return
        entry.future.set_result(value)
        with self._lock:
            if self._entries.get(key) is entry:  # not discarded meanwhile
                entry.size = size
                self._bytes += size
                self._evict()

    def _evict(self) -> None:
        for key in list(self._entries)[: -1 if self._budget else None]:
            if self._bytes <= self._budget:
                return
            if self._entries[key].future.done():
                self._bytes -= self._entries.pop(key).size
