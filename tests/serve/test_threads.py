"""Iteration in a thread for a coroutine: order, errors, and stopping when nobody listens any more."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial

import pytest

from pipelines.serve.threads import iterate_in_thread


def count(until: int, seen: list[int]) -> Generator[int, None, None]:
    for number in range(until):
        seen.append(number)
        yield number


async def collect(work: partial[Generator[int, None, None]], executor: ThreadPoolExecutor) -> list[int]:
    return [item async for item in iterate_in_thread(work, executor)]


def test_items_arrive_in_order() -> None:
    with ThreadPoolExecutor(1) as executor:
        assert asyncio.run(collect(partial(count, 500, []), executor)) == list(range(500))


def test_an_error_comes_after_the_items_before_it() -> None:
    def broken() -> Generator[int, None, None]:
        yield 1
        raise KeyError("gone")

    async def consume() -> list[int]:
        items: list[int] = []
        with pytest.raises(KeyError, match="gone"):
            async for item in iterate_in_thread(broken, executor):
                items.append(item)  # noqa: PERF401 - what came before the error is what is tested
        return items

    with ThreadPoolExecutor(1) as executor:
        assert asyncio.run(consume()) == [1]


def test_a_consumer_that_leaves_stops_the_work() -> None:
    closed = threading.Event()

    def endless() -> Generator[int, None, None]:
        try:
            while True:
                time.sleep(0.001)
                yield 0
        finally:
            closed.set()

    async def leave() -> None:
        async with aclosing(iterate_in_thread(endless, executor)) as items:
            await anext(items)

    with ThreadPoolExecutor(1) as executor:
        asyncio.run(leave())
        assert closed.wait(5)


def test_cancelled_work_that_waits_for_a_thread_never_begins() -> None:
    seen: list[int] = []
    release = threading.Event()

    async def cancel_while_queued() -> None:
        task = asyncio.create_task(collect(partial(count, 3, seen), executor))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with ThreadPoolExecutor(1) as executor:
        executor.submit(release.wait)
        asyncio.run(cancel_while_queued())
        release.set()
    assert seen == []
