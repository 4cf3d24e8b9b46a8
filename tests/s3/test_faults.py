"""The store behind a network and a server that go wrong: right bytes or our error, in time; no lost commit."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from tests.s3.faults import Fault, FaultProxy, Plan, at_random, healthy, in_turn
from tests.s3.server import start
from tests.unit.store.samples import assert_same, random_chunks, write_index
from videox2l.errors import AlreadyCommittedError, ArchiveError
from videox2l.store import Archive
from videox2l.store.fetch import FetchConfig, Fetcher, FetchStatistics
from videox2l.store.range_sources import Data
from videox2l.store.storage import Range, Storage

BLOB = random.Random(1).randbytes(2**20)
RANGES = [Range("blob", offset, 2**16) for offset in range(0, 2**20, 2**16)]
EXPECTED = [BLOB[part.offset : part.offset + part.length] for part in RANGES]

# Faults that end at once, so that no pause of the tests' fetchers is longer than need be.
QUICK: Mapping[str, Fault] = {
    "throttled": Fault("status", 503),
    "too many requests": Fault("status", 429),
    "internal error": Fault("status", 500),
    "reset": Fault("reset"),
    "reset in the body": Fault("reset_body"),
    "truncated": Fault("truncate"),
}


@pytest.fixture(scope="module")
def shared_proxy() -> Iterator[FaultProxy]:
    with FaultProxy(start()) as proxy:
        yield proxy


@pytest.fixture
def proxy(shared_proxy: FaultProxy) -> Iterator[FaultProxy]:
    """In front of the S3 server, without faults or a log."""
    shared_proxy.requests.clear()
    yield shared_proxy
    shared_proxy.plan = healthy


@pytest.fixture(scope="module")
def shared_storage(shared_proxy: FaultProxy) -> Storage:
    options = {"key": "test", "secret": "test", "client_kwargs": {"region_name": "us-east-1"}}
    storage = Storage(f"s3://faults-{uuid.uuid4().hex}/folder", options | {"endpoint_url": shared_proxy.url})
    storage.fs.call_s3("create_bucket", Bucket=storage.root.partition("/")[0])
    storage.write("blob", BLOB)
    return storage


@pytest.fixture
def storage(shared_storage: Storage, proxy: FaultProxy) -> Storage:
    """A folder with the file ``blob``, reached through the proxy."""
    return shared_storage


def fetch(storage: Storage, ranges: Sequence[Range], **config: Any) -> tuple[list[Data], FetchStatistics]:
    async def run() -> tuple[list[Data], FetchStatistics]:
        fetcher = Fetcher(storage, FetchConfig(**({"backoff_s": 0.01} | config)))
        try:
            return await fetcher.fetch(ranges), fetcher.statistics
        finally:
            await fetcher.aclose()

    return asyncio.run(run())


@pytest.mark.parametrize("fault", QUICK.values(), ids=QUICK)
def test_a_fault_is_survived(storage: Storage, proxy: FaultProxy, fault: Fault) -> None:
    proxy.plan = in_turn(None, fault, None, fault)
    found, statistics = fetch(storage, RANGES)
    assert found == EXPECTED
    assert statistics.retries == 2
    assert proxy.count("GET", "blob") == statistics.requests == len(RANGES) + 2


@pytest.mark.parametrize("fault", QUICK.values(), ids=QUICK)
def test_a_fault_that_stays_is_our_error(storage: Storage, proxy: FaultProxy, fault: Fault) -> None:
    proxy.plan = at_random({fault: 1.0}, seed=0)
    with pytest.raises(ArchiveError, match=r"cannot read blob of s3://.*, tried 3 times"):
        fetch(storage, RANGES[:1], retries=2)
    assert proxy.count("GET", "blob") == 3


@pytest.mark.parametrize(
    ("code", "expected"), [(403, ArchiveError), (404, FileNotFoundError)], ids=["access denied", "missing"]
)
def test_a_refusal_is_final(storage: Storage, proxy: FaultProxy, code: int, expected: type[Exception]) -> None:
    proxy.plan = in_turn(Fault("status", code))
    with pytest.raises(expected, match="blob"):
        fetch(storage, RANGES[:1])
    assert proxy.count("GET", "blob") == 1


@pytest.mark.parametrize("seed", range(3))
def test_everything_at_once(storage: Storage, proxy: FaultProxy, seed: int) -> None:
    proxy.plan = at_random(dict.fromkeys(QUICK.values(), 0.06) | {Fault("stall"): 0.03}, seed)
    found, _ = fetch(storage, RANGES * 4, timeout_s=1.0, retries=10)
    assert found == EXPECTED * 4


def test_a_stalled_request_is_repeated(storage: Storage, proxy: FaultProxy) -> None:
    proxy.plan = in_turn(Fault("stall"))
    found, statistics = fetch(storage, RANGES[:2], timeout_s=0.5)
    assert (found, statistics.retries) == (EXPECTED[:2], 1)


def test_a_stalled_request_is_hedged(storage: Storage, proxy: FaultProxy) -> None:
    proxy.plan = in_turn(Fault("stall"))
    found, statistics = fetch(storage, RANGES[:2], hedge_after_s=0.5)
    assert found == EXPECTED[:2]
    assert (statistics.retries, statistics.hedges_won) == (0, 1)


@pytest.mark.parametrize("fault", [Fault("stall"), Fault("reset")], ids=["stall", "reset"])
def test_never_later_than_the_deadline(storage: Storage, proxy: FaultProxy, fault: Fault) -> None:
    proxy.plan = at_random({fault: 1.0}, seed=0)
    started = time.monotonic()
    with pytest.raises(ArchiveError, match="longer than 1 s"):
        fetch(storage, RANGES, timeout_s=1.0, deadline_s=1.0, retries=10**6, backoff_s=0.2)
    assert time.monotonic() - started < 10  # a stall lasts 30 s


def test_the_end_of_a_file(storage: Storage) -> None:
    beyond = [Range("blob", 2**20 - 5, 100), Range("blob", 2**20 + 5, 100), Range("blob", 7, 0)]
    found, statistics = fetch(storage, beyond)
    assert found == [BLOB[-5:], b"", b""]
    assert statistics.retries == 0


def test_only_what_was_asked_for_is_read(storage: Storage, proxy: FaultProxy) -> None:
    fetch(storage, RANGES[3:6])
    assert [(request.method, request.sent) for request in proxy.requests] == [("GET", 2**16)] * 3


def test_keys_and_endpoint_of_the_environment(
    s3_server: str, storage: Storage, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    found, _ = fetch(Storage(storage.url), RANGES[:1])
    assert found == EXPECTED[:1]
    assert proxy.count("GET", "blob") == 1


def test_cancelled_requests_leave_the_wire(storage: Storage, proxy: FaultProxy) -> None:
    proxy.plan = in_turn(Fault("stall"))

    async def run() -> list[Data]:
        fetcher = Fetcher(storage, FetchConfig(concurrency=1))
        caller = asyncio.create_task(fetcher.fetch(RANGES[:1]))
        while not proxy.count("GET", "blob"):
            await asyncio.sleep(0.01)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        return await fetcher.fetch(RANGES)  # its only slot is free again

    assert asyncio.run(run()) == EXPECTED


LOST = Fault("lost_answer")


@pytest.fixture
def archive(proxy: FaultProxy, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")  # s3fs repeats what botocore gives up, which is pauses enough
    return Archive.open(f"{s3_bucket}/archive", create=True)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(in_turn(LOST, method="PUT", path="manifest.json"), id="once"),
        # More often than any driver repeats a request: the writer itself has to look.
        pytest.param(in_turn(*[LOST] * 20, method="PUT", path="manifest.json"), id="always"),
        pytest.param(at_random({LOST: 0.3}, seed=2, method="PUT"), id="also of shards"),
    ],
)
def test_no_lost_commit(archive: Archive, proxy: FaultProxy, plan: Plan) -> None:
    chunks = random_chunks(3)
    proxy.plan = plan
    manifest = write_index(archive, chunks)
    proxy.plan = healthy
    assert any(request.fault == LOST for request in proxy.requests)
    reader = archive.open_index("holiday.mp4")
    assert reader.manifest.attempt == manifest.attempt
    assert_same(reader.low(2), chunks[2]["low"])


def test_of_two_writers_with_lost_answers_one_wins(archive: Archive, proxy: FaultProxy) -> None:
    proxy.plan = in_turn(LOST, LOST, method="PUT", path="manifest.json")

    def write(_: int) -> str | None:
        try:
            return write_index(archive).attempt
        except AlreadyCommittedError:
            return None

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        attempts = list(pool.map(write, range(2)))
    [winner] = [attempt for attempt in attempts if attempt]
    assert archive.open_index("holiday.mp4").manifest.attempt == winner


def test_a_commit_that_never_arrives_is_an_error(archive: Archive, proxy: FaultProxy) -> None:
    proxy.plan = in_turn(*[Fault("reset")] * 20, method="PUT", path="manifest.json")
    with pytest.raises(ArchiveError, match=r"manifest\.json"):
        write_index(archive)
    proxy.plan = healthy
    assert archive.videos() == []
    write_index(archive)


def test_a_server_that_ignores_conditions_is_found_out(
    archive: Archive, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    assert archive.storage.check_conditions()
    proxy.plan = in_turn(*[Fault("unconditional")] * 20, method="PUT")
    assert not archive.storage.check_conditions()
    write_index(archive)
    write_index(archive, name="other.mp4")
    assert sum("ignores conditional writes" in record.message for record in caplog.records) == 1
