"""Copies on a local disk: a budget of bytes, several processes, and disks that fail."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from videox2l.store.disk_cache import DiskCache

KIB = bytes(1024)


def copies(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/*") if path.is_file()]


def test_what_was_put_is_there_for_others(tmp_path: Path) -> None:
    DiskCache(tmp_path, 10_000).put("a", b"bytes of a")
    other = DiskCache(tmp_path, 10_000)
    assert other.get("a") == b"bytes of a"
    assert other.get("b") is None
    assert (other.hits, other.misses) == (1, 1)
    other.drop("a")
    assert DiskCache(tmp_path, 10_000).get("a") is None


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 4 * len(KIB))
    for age, name in enumerate("dcba"):
        cache.put(name, KIB)
        os.utime(cache._path(name), (age, age))
    assert cache.get("d") == KIB  # now the youngest
    cache.put("e", KIB)
    kept = {name for name in "abcde" if cache._path(name).exists()}
    assert kept == {"a", "d", "e"}
    assert cache.total <= cache.budget


def test_nothing_larger_than_the_budget_is_kept(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1000)
    cache.put("small", bytes(900))
    cache.put("large", KIB)
    assert cache.get("large") is None
    assert cache.get("small") == bytes(900)


def test_leftovers_of_killed_processes_go(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 10_000)
    (tmp_path / "ab").mkdir()
    old, young = (tmp_path / "ab" / f"{name}.part" for name in ("old", "young"))
    old.write_bytes(KIB)
    young.write_bytes(KIB)
    os.utime(old, (time.time() - 7200,) * 2)
    cache.put("a", KIB)
    assert not old.exists()
    assert young.exists()  # another process may be writing it
    assert cache.total == len(KIB)


def test_a_disk_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = DiskCache(tmp_path / "file" / "below", 1000)
    cache.put("a", b"a")
    assert cache.get("a") is None


def fill(folder: Path, number: int) -> int:
    cache = DiskCache(folder, 50 * len(KIB))
    wrong = 0
    for turn in range(150):
        name = str((turn * 7 + number) % 90)
        data = name.encode() * 300
        cache.put(name, data[:1024])
        found = cache.get(name)
        wrong += found is not None and found != data[:1024]
    return wrong


@pytest.mark.parametrize("processes", [3])
def test_processes_share_a_folder(tmp_path: Path, processes: int) -> None:
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(fill, [tmp_path] * processes, range(processes))) == [0] * processes
    last = DiskCache(tmp_path, 50 * len(KIB))
    last.put("last", b"")
    assert sum(path.stat().st_size for path in copies(tmp_path)) <= last.budget
    assert not list(tmp_path.glob("*/*.part"))
