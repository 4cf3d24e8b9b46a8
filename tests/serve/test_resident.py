"""The cache of loaded videos: one load a key, a budget of bytes, failures not remembered."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.serve.resident import ResidentCache

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


def cache(loader: Loader, budget: int) -> ResidentCache[str]:
    return ResidentCache(loader, SIZES.__getitem__, budget)


def test_one_load_however_many_ask_at_once() -> None:
    loader = Loader(delay_s=0.05)
    resident = cache(loader, 100)
    start = threading.Barrier(8)

    def ask(_: int) -> str:
        start.wait()
        return resident.get("a")

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(8))) == ["a"] * 8
    assert loader.loads == ["a"]


def test_the_least_recently_used_goes_first() -> None:
    loader = Loader()
    resident = cache(loader, 20)
    for key in ("a", "b", "a", "c", "a", "c", "b"):
        resident.get(key)
    assert loader.loads == ["a", "b", "c", "b"]


def test_a_value_above_the_budget_stays_until_another_comes() -> None:
    loader = Loader()
    resident = cache(loader, 20)
    for key in ("a", "huge", "huge", "a", "huge"):
        resident.get(key)
    assert loader.loads == ["a", "huge", "a", "huge"]


def test_a_failed_load_reaches_all_who_wait_and_is_tried_again() -> None:
    loader = Loader(delay_s=0.05)
    loader.broken = True
    resident = cache(loader, 20)
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(resident.get, "a") for _ in range(4)]
        for future in waiting:
            with pytest.raises(OSError, match="away"):
                future.result()
    loader.broken = False
    assert resident.get("a") == "a"


def test_discarded_values_are_loaded_anew() -> None:
    loader = Loader()
    resident = cache(loader, 20)
    resident.get("a")
    resident.discard("a")
    resident.discard("never there")
    resident.get("a")
    assert loader.loads == ["a", "a"]
