"""Several asynchronous streams as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar

T = TypeVar("T")


async def merged(streams: Sequence[AsyncIterator[T]]) -> AsyncGenerator[tuple[int, T], None]:
    """Items of all ``streams`` with the number of theirs, as they come.

    The first error of any of them ends it. Whoever stops iterating closes all.
    """
    pending: dict[asyncio.Task[T], int] = {}
    async with AsyncExitStack() as stack:
        for stream in streams:
            if (close := getattr(stream, "aclose", None)) is not None:
                stack.push_async_callback(close)
        try:
            for number, stream in enumerate(streams):
                pending[asyncio.ensure_future(anext(stream))] = number
            while pending:
                done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    number = pending.pop(task)
                    try:
                        item = task.result()
                    except StopAsyncIteration:
                        continue
                    pending[asyncio.ensure_future(anext(streams[number]))] = number
                    yield number, item
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)


async def all_of(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Their results in order, worked on at once. The first error ends all and is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
