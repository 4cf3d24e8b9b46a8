"""The hot read path: ranges of an archive's files, many at once, each tried again or asked for twice when it is slow.

A question waits for its slowest read, so the tail counts. A failed request is repeated after a growing random pause.
One that takes longer than nearly all others is sent a second time, and the faster answer wins (hedging): a slow answer
is mostly bad luck of one connection or one disk. Hedges are bounded, because a server that is slow for all must not get
twice the load.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from videox2l.errors import ArchiveError, ConfigError
from videox2l.store.range_sources import Consumer, Data, Source, TransientError, open_source
from videox2l.store.storage import Range, Storage

T = TypeVar("T")

# Latencies that the percentile is taken of: enough for a 95th, few enough to follow a network that changes.
_RECENT = 256

# Below this number of latencies a percentile says little, so nothing is hedged yet.
_ENOUGH = 20

# Hedges that may follow one another at once; they are saved up while nothing is slow.
_HEDGE_BURST = 4.0

# Pauses do not grow beyond this many seconds: a server that recovers should not be left waiting.
_LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True)
class FetchConfig:
    """How a :class:`Fetcher` reads. Times in seconds.

    ``concurrency``: requests in flight. One S3 connection carries 50–90 MB/s, so 16 fill a 10 Gbit/s network.
    ``timeout_s``: of one request, body included. A low chunk of a 7B model (39 MiB) takes below 1 s.
    ``deadline_s``: of a whole :meth:`Fetcher.fetch`, whatever happens.
    ``retries``: repeats of one request. With ``backoff_s`` doubling, five span a few seconds of throttling.
    ``backoff_s``: longest pause before the first repeat; each pause is a random part of its longest.
    ``hedge_after_s``: how slow a request must be to be sent twice. None: the ``hedge_percentile`` of recent ones.
    ``hedge_share``: hedges a request, in the long run. 0: never hedge.
    """

    concurrency: int = 16
    timeout_s: float = 10.0
    deadline_s: float = 60.0
    retries: int = 5
    backoff_s: float = 0.1
    hedge_after_s: float | None = None
    hedge_percentile: float = 95.0
    hedge_share: float = 0.05

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ConfigError(f"concurrency must be at least 1, got {self.concurrency}")
        if self.retries < 0:
            raise ConfigError(f"retries must not be negative, got {self.retries}")
        if not 0 < self.timeout_s <= self.deadline_s:
            raise ConfigError(
                f"timeout_s must be above 0 and at most deadline_s, got {self.timeout_s} and {self.deadline_s}"
            )
        if not self.backoff_s >= 0:
            raise ConfigError(f"backoff_s must not be negative, got {self.backoff_s}")
        if self.hedge_after_s is not None and not self.hedge_after_s > 0:
            raise ConfigError(f"hedge_after_s must be above 0 or None, got {self.hedge_after_s}")
        if not 50 <= self.hedge_percentile < 100:
            raise ConfigError(f"hedge_percentile must be at least 50 and below 100, got {self.hedge_percentile}")
        if not 0 <= self.hedge_share <= 1:
            raise ConfigError(f"hedge_share must be between 0 and 1, got {self.hedge_share}")


@dataclass
class FetchStatistics:
    """Counts since the fetcher was made. ``requests`` includes retries and hedges; ``bytes`` are those handed out."""

    requests: int = 0
    retries: int = 0
    hedges: int = 0
    hedges_won: int = 0
    bytes: int = 0


class Fetcher:
    """Reads ranges of ``storage``. For one event loop and one process: make another after a fork or in another loop.

    Nothing blocks the loop: S3 is read by native threads, other storages by threads of the fetcher.
    """

    def __init__(self, storage: Storage, config: FetchConfig | None = None, *, source: Source | None = None) -> None:
        self.config = config or FetchConfig()
        self._storage = storage
        self._source = source
        self._opening = asyncio.Lock()
        self._slots = asyncio.Semaphore(self.config.concurrency)
        self._hedging = _Hedging(self.config)
        self._statistics = FetchStatistics()

    @property
    def statistics(self) -> FetchStatistics:
        """The counts now."""
        return dataclasses.replace(self._statistics)

    async def fetch(self, ranges: Sequence[Range]) -> list[Data]:
        """The ranges in their order, read at once, cut short where a file ends. Errors: see :meth:`fetch_each`."""
        return await self.fetch_each([(part, _AsItIs) for part in ranges])

    async def fetch_each(self, wanted: Sequence[tuple[Range, Callable[[], Consumer[T]]]]) -> list[T]:
        """Read ranges at once; of each, in their order, what a consumer of its own makes of it while it is read.

        Consumers are quick and have no effects: a request that is sent again, or twice, gets another one.

        When this returns, raises or is cancelled, no task or request of it is left. Only threads, which read storages
        other than S3, first finish the range that they are at.

        :raises FileNotFoundError: one of the files is missing.
        :raises ArchiveError: refused, or not read within the deadline or the retries; and what the consumers raise.
        """
        tasks: list[asyncio.Task[T]] = []
        try:
            async with asyncio.timeout(self.config.deadline_s):
                source = await self._open()
                tasks = [asyncio.create_task(self._read(source, part, make)) for part, make in wanted]
                return await asyncio.gather(*tasks)
        except TimeoutError as error:
            left = [part.path for (part, _), task in zip(wanted, tasks, strict=False) if not _succeeded(task)]
            raise ArchiveError(
                f"{self._storage.url}: {len(left) or 'all'} of {len(wanted)} reads took longer than "
                f"{self.config.deadline_s:g} s{f', first {left[0]}' if left else ''}. "
                "Check the connection, or raise the deadline."
            ) from error
        finally:
            await _end(tasks)

    async def aclose(self) -> None:
        """Free threads and connections. Reads under way fail."""
        if self._source is not None:
            self._source.close()

    async def _open(self) -> Source:
        async with self._opening:
            if self._source is None:
                self._source = await asyncio.to_thread(open_source, self._storage, self.config.concurrency)
            return self._source

    async def _read(self, source: Source, part: Range, make: Callable[[], Consumer[T]]) -> T:
        for attempt in itertools.count():
            try:
                async with self._slots:
                    size, made = await self._read_hedged(source, part, lambda: _Counting(make()))
                    self._statistics.bytes += size
                    return made
            except TransientError as error:
                if attempt == self.config.retries:
                    raise ArchiveError(
                        f"cannot read {part.path} of {self._storage.url}, tried {attempt + 1} times: {error}. "
                        "Check the connection and the server's load."
                    ) from error
            self._statistics.retries += 1
            longest = min(self.config.backoff_s * 2**attempt, _LONGEST_PAUSE_S)
            # Random, so that readers refused together do not come back together.
            await asyncio.sleep(random.uniform(0, longest))
        raise AssertionError("unreachable")

    async def _read_hedged(self, source: Source, part: Range, make: Callable[[], Consumer[T]]) -> T:
        """One request, and a second one if the first is slow. The second takes no slot of its own."""
        self._hedging.saw_request()
        delay = self._hedging.delay_s() if source.repeatable else None
        started = asyncio.get_running_loop().time()
        if delay is None:  # not worth a task of its own
            made = await self._request(source, part, make)
            self._hedging.saw_latency(asyncio.get_running_loop().time() - started)
            return made
        tasks = [asyncio.create_task(self._request(source, part, make))]
        try:
            await asyncio.wait(tasks, timeout=delay)
            if not tasks[0].done() and self._hedging.take():
                self._statistics.hedges += 1
                tasks.append(asyncio.create_task(self._request(source, part, make)))
            winner = await _first_answer(tasks)
            made = winner.result()
            self._statistics.hedges_won += winner is not tasks[0]
        finally:
            await _end(tasks)
        self._hedging.saw_latency(asyncio.get_running_loop().time() - started)
        return made

    async def _request(self, source: Source, part: Range, make: Callable[[], Consumer[T]]) -> T:
        self._statistics.requests += 1
        try:
            async with asyncio.timeout(self.config.timeout_s):
                return await source.read(part, make())
        except TimeoutError as error:
            raise TransientError(f"no answer within {self.config.timeout_s:g} s") from error


class _AsItIs:
    """The range itself."""

    def piece(self, data: memoryview) -> None:
        pass

    def whole(self, data: Data) -> Data:
        return data


class _Counting(Generic[T]):
    """Another consumer, and how many bytes it got."""

    def __init__(self, inner: Consumer[T]) -> None:
        self._inner = inner
        self.piece = inner.piece

    def whole(self, data: Data) -> tuple[int, T]:
        return len(data), self._inner.whole(data)


class _Hedging:
    """When a request counts as slow, and whether it may be sent twice: a budget that each request adds its share to."""

    def __init__(self, config: FetchConfig) -> None:
        self._config = config
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._budget = _HEDGE_BURST if config.hedge_share else 0.0

    def saw_request(self) -> None:
        self._budget = min(self._budget + self._config.hedge_share, _HEDGE_BURST)

    def saw_latency(self, seconds: float) -> None:
        self._recent.append(seconds)

    def delay_s(self) -> float | None:
        """Seconds to wait for the first answer; None: as long as it takes."""
        if self._config.hedge_after_s is not None or not self._config.hedge_share:
            return self._config.hedge_after_s
        if len(self._recent) < _ENOUGH:
            return None
        return sorted(self._recent)[int(len(self._recent) * self._config.hedge_percentile / 100)]

    def take(self) -> bool:
        if self._budget < 1:
            return False
        self._budget -= 1
        return True


async def _first_answer(tasks: Collection[asyncio.Task[T]]) -> asyncio.Task[T]:
    """The first task that ends with data or a final error; the last one if all fail in passing."""
    pending = set(tasks)
    while True:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        answered = [task for task in done if not isinstance(task.exception(), TransientError)]
        if answered or not pending:
            return (answered or list(done))[0]


def _succeeded(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel what still runs and wait until it has ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
