"""KVs of earlier turns, kept behind the memory that they were computed over: a follow-up runs only what is new.

They hold only for that memory: behind another one, as when other chunks are re-loaded, the turns are run again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence

from videox2l.answering.batch.tails import TailSegment
from videox2l.store.byte_cache import CacheStats

_Ids = tuple[int, ...]


class Conversations:
    """Within a budget of bytes; least recently used out first. Thread-safe."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._kept: OrderedDict[tuple[Hashable, _Ids], TailSegment] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = self._hits = self._misses = 0

    def find(self, behind: Hashable, ids: Sequence[int]) -> TailSegment | None:
        """KVs of as many of the first ``ids`` as are kept there, but never of the last one.

        ``behind``: what tells apart memories, and whoever must not share.
        """
        with self._lock:
            best, most = None, 0
            for key in self._kept:
                if key[0] == behind and (common := _common(key[1], ids[:-1])) > most:
                    best, most = key, common
            if best is None:
                self._misses += 1
                return None
            self._hits += 1
            self._kept.move_to_end(best)
            return self._kept[best].first(most)

    def keep(self, behind: Hashable, ids: Sequence[int], kvs: TailSegment) -> None:
        """``kvs`` are those of ``ids`` there. They take the place of any that they continue."""
        if kvs.nbytes > self._budget:
            return
        new = tuple(ids)
        with self._lock:
            continued = [key for key in self._kept if key[0] == behind and key[1] == new[: len(key[1])]]
            for key in continued:
                self._bytes -= self._kept.pop(key).nbytes
            self._kept[behind, new] = kvs
            self._bytes += kvs.nbytes
            while self._bytes > self._budget:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes

    def stats(self) -> CacheStats:
        """``misses`` are first questions, too: a conversation that begins has nothing to be found."""
        with self._lock:
            return CacheStats(len(self._kept), self._bytes, self._hits, self._misses)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the beginning that both share."""
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
