"""Run synchronous iteration in a thread and hand its items to a coroutine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Executor
from contextlib import closing
from typing import TypeVar

T = TypeVar("T")


async def iterate_in_thread(
    make: Callable[[], Generator[T, None, None]], executor: Executor
) -> AsyncGenerator[T, None]:
    """Items of the generator ``make()``, which runs in one of the executor's threads.

    Whoever stops iterating stops the generator too, at its next item, or before it begins.
    """
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[T | None] = asyncio.Queue()
    stopped = threading.Event()

    def produce() -> None:
        if stopped.is_set():
            return
        with closing(make()) as source:
            for item in source:
                if stopped.is_set():
                    return
                loop.call_soon_threadsafe(items.put_nowait, item)

    done = loop.run_in_executor(executor, produce)
    # The loop runs callbacks in the order they were handed over, so this end comes behind the last item.
    done.add_done_callback(lambda _: items.put_nowait(None))
    try:
        while (item := await items.get()) is not None:
            yield item
        await done
    finally:
        stopped.set()
        done.cancel()
