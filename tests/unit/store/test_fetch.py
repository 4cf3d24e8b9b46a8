"""Fetching ranges: order, bounds, retries, hedges, deadlines, cancellation. Over HTTP: ``tests/s3/test_faults.py``."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from videox2l.errors import ArchiveError, ConfigError
from videox2l.store.fetch import FetchConfig, Fetcher
from videox2l.store.range_sources import Consumer, Data, TransientError
from videox2l.store.storage import Range, Storage

Behaviour = Callable[[Range, int], Coroutine[Any, Any, Data]]

NEVER_S = 60.0  # far beyond any deadline here


class Scripted:
    """A source that does as told, and knows how many reads run, began and were cancelled."""

    repeatable = True

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.running = self.most = self.cancelled = 0
        self.begun: Counter[str] = Counter()

    async def read(self, part: Range, consumer: Consumer[Any]) -> Any:
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun[part.path] += 1
        try:
            return consumer.whole(await self._behaviour(part, self.begun[part.path]))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    def close(self) -> None:
        pass


async def answer(part: Range, turn: int) -> Data:
    await asyncio.sleep(0)
    return part.path.encode()


def slow_first(part_name: str) -> Behaviour:
    """The first read of this file never ends; all others answer."""

    async def behave(part: Range, turn: int) -> Data:
        if part.path == part_name and turn == 1:
            await asyncio.sleep(NEVER_S)
        return await answer(part, turn)

    return behave


def failing(times: int, error: Exception) -> Behaviour:
    async def behave(part: Range, turn: int) -> Data:
        if turn <= times:
            raise error
        return await answer(part, turn)

    return behave


def ranges(count: int) -> list[Range]:
    return [Range(str(index), 0, 1) for index in range(count)]


def scripted(behaviour: Behaviour, **config: Any) -> tuple[Fetcher, Scripted]:
    source = Scripted(behaviour)
    return Fetcher(Storage("memory://scripted"), FetchConfig(**({"backoff_s": 0.0} | config)), source=source), source


def test_answers_keep_their_order_and_the_bound_holds() -> None:
    async def later_ones_first(part: Range, turn: int) -> Data:
        await asyncio.sleep(0.02 / (1 + int(part.path)))
        return part.path.encode()

    async def run() -> None:
        fetcher, source = scripted(later_ones_first, concurrency=3, hedge_share=0)
        # Two callers share one bound.
        first, second = await asyncio.gather(fetcher.fetch(ranges(10)), fetcher.fetch(ranges(5)))
        assert first == [str(index).encode() for index in range(10)]
        assert second == first[:5]
        assert source.most == 3
        assert fetcher.statistics.requests == 15
        assert fetcher.statistics.bytes == 15
        assert await fetcher.fetch([]) == []

    asyncio.run(run())


def test_transient_errors_are_retried() -> None:
    async def run() -> None:
        fetcher, _ = scripted(failing(2, TransientError("503")), retries=2)
        assert await fetcher.fetch(ranges(3)) == [b"0", b"1", b"2"]
        assert (fetcher.statistics.requests, fetcher.statistics.retries) == (9, 6)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "expected", "begun"),
    [
        pytest.param(TransientError("503 SlowDown"), ArchiveError, 3, id="transient, until the retries are used up"),
        pytest.param(FileNotFoundError("0"), FileNotFoundError, 1, id="missing"),
        pytest.param(ArchiveError("403 Forbidden"), ArchiveError, 1, id="refused"),
    ],
)
def test_errors_end_the_others(error: Exception, expected: type[Exception], begun: int) -> None:
    async def one_fails(part: Range, turn: int) -> Data:
        if part.path == "0":
            raise error
        await asyncio.sleep(NEVER_S)
        return b""

    async def run() -> None:
        fetcher, source = scripted(one_fails, retries=2, hedge_share=0)
        with pytest.raises(expected, match=str(error)):
            await fetcher.fetch(ranges(4))
        assert source.begun["0"] == begun
        assert (source.running, source.cancelled) == (0, 3)

    asyncio.run(run())


def test_a_request_that_hangs_is_repeated() -> None:
    async def run() -> None:
        fetcher, source = scripted(slow_first("1"), timeout_s=0.05, hedge_share=0)
        assert await fetcher.fetch(ranges(3)) == [b"0", b"1", b"2"]
        assert (source.running, source.cancelled, fetcher.statistics.retries) == (0, 1, 1)

    asyncio.run(run())


async def hang(part: Range, turn: int) -> Data:
    await asyncio.sleep(NEVER_S)
    return b""


@pytest.mark.parametrize("behaviour", [hang, failing(10**6, TransientError("503"))], ids=["hangs", "is busy"])
def test_the_deadline_holds(behaviour: Behaviour) -> None:
    async def run() -> None:
        fetcher, source = scripted(behaviour, deadline_s=0.1, timeout_s=0.1, retries=10**6, backoff_s=0.01)
        async with asyncio.timeout(5):
            with pytest.raises(ArchiveError, match=r"2 of 2 reads took longer than 0\.1 s, first 0"):
                await fetcher.fetch(ranges(2))
        assert source.running == 0

    asyncio.run(run())


def test_a_hedge_wins_and_the_slow_request_is_cancelled() -> None:
    async def run() -> None:
        fetcher, source = scripted(slow_first("1"), hedge_after_s=0.02)
        assert await fetcher.fetch(ranges(3)) == [b"0", b"1", b"2"]
        assert (source.running, source.cancelled) == (0, 1)
        assert (fetcher.statistics.hedges, fetcher.statistics.hedges_won, fetcher.statistics.requests) == (1, 1, 4)

    asyncio.run(run())


def test_a_failed_hedge_does_not_spoil_the_first_request() -> None:
    async def second_fails(part: Range, turn: int) -> Data:
        if turn == 2:
            raise TransientError("503")
        await asyncio.sleep(0.1)
        return b"first"

    async def run() -> None:
        fetcher, _ = scripted(second_fails, hedge_after_s=0.01, retries=0)
        assert await fetcher.fetch(ranges(1)) == [b"first"]
        assert (fetcher.statistics.hedges, fetcher.statistics.hedges_won) == (1, 0)

    asyncio.run(run())


def test_hedges_are_a_bounded_share() -> None:
    async def all_slow(part: Range, turn: int) -> Data:
        await asyncio.sleep(0.01)
        return b""

    async def run() -> None:
        fetcher, _ = scripted(all_slow, hedge_after_s=0.001, hedge_share=0.1, concurrency=100)
        await fetcher.fetch(ranges(200))
        assert 0 < fetcher.statistics.hedges <= 0.1 * 200 + 4

    asyncio.run(run())


def test_the_delay_follows_recent_latencies() -> None:
    async def run() -> None:
        # A full budget, whatever the first requests spend of it.
        fetcher, source = scripted(slow_first("slow"), hedge_share=1)
        await fetcher.fetch(ranges(50))
        assert await fetcher.fetch([Range("slow", 0, 1)]) == [b"slow"]
        assert (source.begun["slow"], source.running) == (2, 0)
        assert fetcher.statistics.retries == 0

    asyncio.run(run())


def test_cancelling_the_caller_leaves_nothing_running() -> None:
    async def run() -> None:
        fetcher, source = scripted(hang, concurrency=2, hedge_after_s=0.01)
        caller = asyncio.create_task(fetcher.fetch(ranges(5)))
        await asyncio.sleep(0.05)
        assert source.running > 2  # a hedge runs too
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert source.running == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_other_storages_than_s3(kind: str, tmp_path: Path) -> None:
    storage = Storage(tmp_path if kind == "local" else f"memory://{tmp_path.name}")
    storage.write("a", bytes(range(200)))
    storage.write("b", b"short")

    async def run() -> None:
        fetcher = Fetcher(storage, FetchConfig(concurrency=2))
        found = await fetcher.fetch([Range("b", 2, 10), Range("a", 100, 3), Range("b", 9, 4), Range("a", 0, 200)])
        assert found == [b"ort", bytes([100, 101, 102]), b"", bytes(range(200))]
        with pytest.raises(FileNotFoundError):
            await fetcher.fetch([Range("a", 0, 1), Range("c", 0, 1)])
        await fetcher.aclose()

    asyncio.run(run())


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"retries": -1},
        {"timeout_s": 0},
        {"timeout_s": 2, "deadline_s": 1},
        {"timeout_s": float("nan")},
        {"backoff_s": -1},
        {"hedge_after_s": 0},
        {"hedge_percentile": 100},
        {"hedge_share": 1.5},
    ],
    ids=str,
)
def test_impossible_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FetchConfig(**wrong)
