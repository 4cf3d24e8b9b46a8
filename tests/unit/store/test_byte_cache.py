"""The cache of loaded videos: one load a key, a budget of bytes, failures not remembered."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from videox2l.store.byte_cache import ByteCache, CacheStats

SIZES = {"a": 10, "b": 10, "c": 10, "huge": 100}


class Loader:
    def __init__(self, delay_s: float = 0.0) -> None:
        self.loads: list[str] = []
        self.broken = False
        self._delay_s = delay_s

    def __call__(self, key: str) -> str:
        self.loads.append(key)
        time.sleep(self._delay_s)
        if self.broken:
            raise OSError("storage is away")
        return key


class Cache:
    """Loads by one loader."""

    def __init__(self, loader: Loader, budget: int) -> None:
        self.bytes = ByteCache[str, str](SIZES.__getitem__, budget)
        self._loader = loader

    def get(self, key: str) -> str:
        return self.bytes.get(key, partial(self._loader, key))


def test_one_load_however_many_ask_at_once() -> None:
    loader = Loader(delay_s=0.05)
    resident = Cache(loader, 100)
    start = threading.Barrier(8)

    def ask(_: int) -> str:
        start.wait()
        return resident.get("a")

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(8))) == ["a"] * 8
    assert loader.loads == ["a"]


def test_the_least_recently_used_goes_first() -> None:
    loader = Loader()
    resident = Cache(loader, 20)
    for key in ("a", "b", "a", "c", "a", "c", "b"):
        resident.get(key)
    assert loader.loads == ["a", "b", "c", "b"]


def test_a_value_above_the_budget_stays_until_another_comes() -> None:
    loader = Loader()
    resident = Cache(loader, 20)
    for key in ("a", "huge", "huge", "a", "huge"):
        resident.get(key)
    assert loader.loads == ["a", "huge", "a", "huge"]


def test_a_budget_of_nothing_keeps_nothing() -> None:
    loader = Loader()
    resident = Cache(loader, 0)
    assert [resident.get(key) for key in ("a", "a", "huge", "a")] == ["a", "a", "huge", "a"]
    assert loader.loads == ["a", "a", "huge", "a"]
    assert resident.bytes.stats().bytes == 0


def test_a_failed_load_reaches_all_who_wait_and_is_tried_again() -> None:
    loader = Loader(delay_s=0.05)
    loader.broken = True
    resident = Cache(loader, 20)
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(resident.get, "a") for _ in range(4)]
        for future in waiting:
            with pytest.raises(OSError, match="away"):
                future.result()
    loader.broken = False
    assert resident.get("a") == "a"


def test_discarded_values_are_loaded_anew() -> None:
    loader = Loader()
    resident = Cache(loader, 20)
    resident.get("a")
    resident.bytes.discard("a")
    resident.bytes.discard("never there")
    resident.get("a")
    assert loader.loads == ["a", "a"]


def test_what_is_found_is_neither_loaded_nor_waited_for() -> None:
    resident = Cache(Loader(), 20)
    assert resident.bytes.find("a") is None
    resident.get("a")
    assert resident.bytes.find("a") == "a"


def test_the_recent_ones_by_their_keys() -> None:
    resident = Cache(Loader(), 40)
    for key in ("a", "b", "c", "a"):
        resident.get(key)
    assert resident.bytes.recent(lambda key: key != "b") == [("a", "a"), ("c", "c")]


def test_counts() -> None:
    resident = Cache(Loader(), 20)
    for key in ("a", "b", "a", "c"):
        resident.get(key)
    assert resident.bytes.stats() == CacheStats(values=2, bytes=20, hits=1, misses=3)
    resident.bytes.discard("c")
    assert resident.bytes.stats() == CacheStats(values=1, bytes=10, hits=1, misses=3)
