"""Several streams as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from pipelines.serve.streams import all_of, merged


class Source:
    """Gives numbers, and notes whether it was closed."""

    def __init__(self, count: int, pause_s: float, error: Exception | None = None) -> None:
        self.count, self.pause_s, self.error = count, pause_s, error
        self.closed = False

    async def items(self) -> AsyncIterator[int]:
        try:
            for number in range(self.count):
                await asyncio.sleep(self.pause_s)
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


def test_items_come_as_they_are_made_and_in_order_within_a_stream() -> None:
    async def run() -> list[tuple[int, int]]:
        sources = [Source(3, 0.03), Source(3, 0.001)]
        found = [item async for item in merged([source.items() for source in sources])]
        assert all(source.closed for source in sources)
        return found

    found = asyncio.run(run())
    assert sorted(found) == [(stream, number) for stream in range(2) for number in range(3)]
    assert [number for stream, number in found if stream == 0] == [0, 1, 2]
    assert found[0][0] == 1


def test_the_first_error_ends_all() -> None:
    async def run() -> list[Source]:
        sources = [Source(1000, 0.01), Source(2, 0.001, ValueError("lost"))]
        with pytest.raises(ValueError, match="lost"):
            async for _ in merged([source.items() for source in sources]):
                pass
        return sources

    assert all(source.closed for source in asyncio.run(run()))


def test_who_stops_closes_all() -> None:
    async def run() -> list[Source]:
        sources = [Source(1000, 0.01), Source(1000, 3600)]
        async with aclosing(merged([source.items() for source in sources])) as stream:
            await anext(stream)
        return sources

    assert all(source.closed for source in asyncio.run(run()))


def test_works_at_once() -> None:
    ended = []

    async def work(number: int, pause_s: float) -> int:
        try:
            await asyncio.sleep(pause_s)
        finally:
            ended.append(number)
        if number == 9:
            raise ValueError("lost")
        return number

    assert asyncio.run(all_of([work(0, 0.02), work(1, 0)])) == [0, 1]
    ended.clear()
    with pytest.raises(ValueError, match="lost"):
        asyncio.run(all_of([work(2, 3600), work(9, 0)]))
    assert sorted(ended) == [2, 9]
