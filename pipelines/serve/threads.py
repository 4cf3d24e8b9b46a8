"""Run synchronous iteration in a thread and hand its items to a coroutine."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from typing import TypeVar

from videox2l.answering import TextDelta

T = TypeVar("T")

# A message costs about as much as a token of a small model: 16 a message carried 6,140 tokens/s, 1 a message 1,637.
BATCH = 16

# A slow model's tokens are not held back for a full batch: 50 ms are below what a reader notices.
LINGER_S = 0.05


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


def batched(pieces: Iterable[TextDelta]) -> Iterator[TextDelta]:
    """The first piece at once, then several joined: at most ``BATCH``, or those of ``LINGER_S``."""
    waiting: list[TextDelta] = []
    due = 0.0
    for piece in pieces:
        waiting.append(piece)
        if len(waiting) >= BATCH or time.monotonic() >= due:
            yield join(waiting)
            waiting.clear()
            due = time.monotonic() + LINGER_S
    if waiting:
        yield join(waiting)


def join(deltas: Sequence[TextDelta]) -> TextDelta:
    """One piece of several."""
    text = "".join(delta.text for delta in deltas)
    return TextDelta(text, tuple(token for delta in deltas for token in delta.logprobs))
