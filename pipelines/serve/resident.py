"""Loaded values within a budget of bytes: one load a key however many ask at once, least recently used out first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

V = TypeVar("V")


@dataclass
class _Entry(Generic[V]):
    future: Future[V] = field(default_factory=Future)
    size: int = 0


@dataclass(frozen=True)
class ResidentStats:
    """``hits``: how often a value was there, or on its way; ``misses``: loads."""

    values: int
    bytes: int
    hits: int
    misses: int


class ResidentCache(Generic[V]):
    """Thread-safe. An evicted value lives on for those who hold it.

    A single value larger than the budget is kept until another takes its place: loading it for every question again
    would save nothing while it is used.
    """

    def __init__(self, load: Callable[[str], V], size: Callable[[V], int], budget: int) -> None:
        self._load, self._size, self._budget = load, size, budget
        self._entries: OrderedDict[str, _Entry[V]] = OrderedDict()
        self._lock = threading.Lock()
        self._hits = self._misses = 0

    def stats(self) -> ResidentStats:
        """Counts, and what is resident."""
        with self._lock:
            total = sum(entry.size for entry in self._entries.values())
            return ResidentStats(len(self._entries), total, self._hits, self._misses)

    def get(self, key: str) -> V:
        """The value of ``key``, loaded where it is not resident. A load that fails is not remembered."""
        with self._lock:
            entry = self._entries.get(key)
            mine = entry is None
            if entry is None:
                entry = self._entries[key] = _Entry()
            self._hits += not mine
            self._misses += mine
            self._entries.move_to_end(key)
        if mine:
            self._fill(key, entry)
        return entry.future.result()

    def discard(self, key: str) -> None:
        """Forget ``key``, so that it is loaded anew."""
        with self._lock:
            self._entries.pop(key, None)

    def _fill(self, key: str, entry: _Entry[V]) -> None:
        try:
            value = self._load(key)
            entry.size = self._size(value)
        except BaseException as error:
            with self._lock:
                if self._entries.get(key) is entry:
                    del self._entries[key]
            entry.future.set_exception(error)
            return
        entry.future.set_result(value)
        with self._lock:
            self._evict()

    def _evict(self) -> None:
        total = sum(entry.size for entry in self._entries.values())
        for key in list(self._entries)[:-1]:
            if total <= self._budget:
                return
            if self._entries[key].future.done():
                total -= self._entries.pop(key).size
