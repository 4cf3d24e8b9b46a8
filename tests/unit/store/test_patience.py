"""What of a storage's faults is waited out and what is said at once."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.s3.faults import Fault, FaultProxy, Plan, Request
from tests.s3.server import start
from tests.unit.store.samples import random_chunks, write_index
from videox2l.errors import CorruptDataError
from videox2l.store import Archive, patience
from videox2l.store.patience import StorageFailedError, StorageFullError, patient
from videox2l.store.storage import Storage


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_S", 0.05)


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException, times: int) -> list[str]:
    """Let the next ``times`` writes of local files fail; returns the log of all writes."""
    from videox2l.store.local import write_atomically

    tried: list[str] = []

    def write(path: Path, data: bytes, *, exclusive: bool) -> None:
        tried.append(path.name)
        if len(tried) <= times:
            raise error
        write_atomically(path, data, exclusive=exclusive)

    monkeypatch.setattr("videox2l.store.storage.write_atomically", write)
    return tried


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ECONNREFUSED, errno.ETIMEDOUT])
def test_a_fault_that_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    tried = failing(monkeypatch, OSError(number, "passing"), times=3)
    storage = patient(Storage(tmp_path), 60)
    storage.write("a", b"data")
    assert tried == ["a"] * 4
    assert storage.read("a") == b"data"


def test_a_fault_that_does_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = failing(monkeypatch, OSError(errno.ESTALE, "Stale file handle"), times=10**9)
    with pytest.raises(StorageFailedError, match=r"cannot write a to .*Stale file handle.*Tried again for"):
        patient(Storage(tmp_path), 0.2).write("a", b"data")
    assert len(tried) > 2


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENAMETOOLONG])
def test_a_refusal_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    tried = failing(monkeypatch, OSError(number, "refused"), times=10**9)
    with pytest.raises(StorageFailedError, match="refused"):
        patient(Storage(tmp_path), 60).create("a", b"data")
    assert tried == ["a"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    tried = failing(monkeypatch, OSError(number, "No space left on device"), times=10**9)
    with pytest.raises(StorageFullError, match=r"No space left.* MiB are free"):
        patient(Storage(tmp_path), 60).write("a", b"data")
    assert tried == ["a"]


def test_what_is_no_fault_passes_through(tmp_path: Path) -> None:
    storage = patient(Storage(tmp_path), 60)
    with pytest.raises(FileNotFoundError):
        storage.read("a")
    storage.create("a", b"data")
    with pytest.raises(FileExistsError):
        storage.create("a", b"data")
    with pytest.raises(CorruptDataError, match="longer than 2 bytes"):
        storage.read("a", limit=2)
    assert storage.version("b") is None
    assert pickle.loads(pickle.dumps(storage)).read("a") == b"data"


def s3(proxy: FaultProxy, bucket: str, **options: Any) -> Storage:
    keys = {"key": "test", "secret": "test", "client_kwargs": {"region_name": "us-east-1"}}
    return Storage(f"{bucket}/archive", keys | {"endpoint_url": proxy.url, "skip_instance_cache": True} | options)


def first(count: int, fault: Fault) -> Plan:
    """The first requests all fail, more of them than the driver's own repeats get over."""
    left = [fault] * count

    def plan(request: Request) -> Fault | None:
        return left.pop() if left else None

    return plan


@pytest.mark.parametrize("fault", [Fault("status", 503), Fault("status", 500), Fault("reset")], ids=lambda f: f.kind)
def test_an_outage_of_object_storage(s3_bucket: str, monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with FaultProxy(start()) as proxy:
        archive = Archive.open(s3(proxy, s3_bucket).url, create=True)
        storage = s3(proxy, s3_bucket, config_kwargs={"retries": {"total_max_attempts": 1}})
        patient_archive = Archive(storage).patient(120)
        proxy.plan = first(8, fault)
        chunks = random_chunks(2)
        manifest = write_index(patient_archive, chunks)
        assert archive.open_index("holiday.mp4").manifest == manifest


def test_object_storage_that_refuses(s3_bucket: str) -> None:
    with FaultProxy(start()) as proxy:
        storage = patient(s3(proxy, s3_bucket), 120)
        proxy.plan = first(10**6, Fault("status", 403))
        for operation in (lambda: storage.write("a", b"data"), lambda: storage.read("a"), lambda: storage.files("a")):
            with pytest.raises(StorageFailedError):
                operation()


def test_object_storage_that_is_not_there(s3_bucket: str) -> None:
    with FaultProxy(start()) as proxy:
        storage = patient(s3(proxy, s3_bucket), 0.3)
    with pytest.raises(StorageFailedError, match="Tried again"):
        storage.write("a", b"data")
