"""The service over HTTP: what it adds to the engine, many askers, and an archive much larger than its caches."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import psutil
from ray import serve

from pipelines.bench.rows.peak_memory import process_peak_bytes, reset_process_peak
from pipelines.bench.rows.timing import Times
from pipelines.bench.serving.load import Order, Reply, run_load, tokens_per_second
from pipelines.serve import ServiceConfig
from pipelines.serve.engine import Engine, EngineStats
from pipelines.serve.request import Question
from pipelines.serve.service import APPLICATION
from videox2l.answering import Answer
from videox2l.config import GenerationConfig, SelectionConfig

# Of Zipf's law: the k-th most asked video is asked 1/k as often as the first.
_EXPONENT = 1.0

_EVERY_S = 1.0


@dataclass(frozen=True)
class Zipf:
    """Questions about many videos, the k-th asked 1/k as often as the first, with caches for a share of their bytes.

    ``hit_ratio``: questions whose video was resident. Bytes by where they were, over all questions. ``memory_mib``: the
    engine's process at times spread evenly over the second half of the run, when caches are full;
    ``growth_mib_per_minute``: the median of its slopes there (Theil and Sen).
    """

    videos: int
    questions: int
    cache_share: float
    seconds: float
    hit_ratio: float
    low_hit_ratio: float
    p50_ms: float
    p99_ms: float
    first_p50_ms: float
    first_p99_ms: float
    failed: int
    bytes_from: dict[str, dict[str, int]]
    memory_mib: tuple[float, ...]
    growth_mib_per_minute: float
    latencies_ms: tuple[float, ...]


def body(model: str, video: str, question: str, tokens: int, **fields: Any) -> dict[str, Any]:
    """A request."""
    messages = [{"role": "user", "content": question}]
    return {"model": model, "messages": messages, "video": video, "max_tokens": tokens, **fields}


def measure_overhead(url: str, name: str, config: ServiceConfig, video: str, repeats: int) -> Times:
    """Warm questions of one token through the service, and to an engine of the same settings in this process, in turn.

    The peak is that of the service's engine.
    """
    engine, served = Engine(config), engine_process().pid
    http: list[float] = []
    process: list[float] = []
    try:
        reset_process_peak(served)
        for turn in range(repeats):
            replies = run_load(Order(url, 1, [body(name, video, f"{turn} {n}?", 1, select="1") for n in range(12)]))
            http += [reply.total_ms / 1000 for reply in replies[2:]]
            process += asyncio.run(_ask_engine(engine, video, turn))[2:]
    finally:
        engine.close()
    return Times((tuple(http), tuple(process)), process_peak_bytes(served))


async def _ask_engine(engine: Engine, video: str, turn: int) -> list[float]:
    """Seconds of each question."""
    taken = []
    for number in range(12):
        question = Question(video, f"{turn} {number}!", SelectionConfig("1"), GenerationConfig(1))
        began = time.perf_counter()
        async for event in engine.answer(question):
            last = event
        taken.append(time.perf_counter() - began)
        assert isinstance(last, Answer)
    return taken


def measure_askers(url: str, name: str, videos: Sequence[str], askers: int, tokens: int, repeats: int) -> Times:
    """Seconds a token of ``askers`` and of one, over HTTP; answers may end by themselves. Peak: of the engine."""
    turns = itertools.count()

    def seconds(count: int, questions: int) -> float:
        turn = next(turns)
        orders = [body(name, videos[n % len(videos)], f"{turn} {n}: what happens?", tokens) for n in range(questions)]
        return 1 / tokens_per_second(run_load(Order(url, count, orders)))

    served = engine_process().pid
    seconds(askers, askers)
    reset_process_peak(served)
    pairs = [(seconds(askers, 2 * askers), seconds(1, 3)) for _ in range(repeats)]
    many, one = zip(*pairs, strict=True)
    return Times((many, one), process_peak_bytes(served))


def measure_zipf(
    url: str,
    name: str,
    videos: Sequence[str],
    questions: int,
    seconds: float | None,
    askers: int,
    share: float,
) -> Zipf:
    """``questions`` at most and for ``seconds`` at most, by ``askers`` at a time."""
    generator = random.Random(0)
    order = list(videos)
    generator.shuffle(order)
    weights = [1 / (rank + 1) ** _EXPONENT for rank in range(len(order))]
    asked = generator.choices(order, weights, k=questions)
    requests = [body(name, video, f"{number}: what happens?", 8, top_k=1) for number, video in enumerate(asked)]
    before = engine_stats()
    with _Memory() as memory:
        began = time.perf_counter()
        replies = run_load(Order(url, askers, requests, seconds))
        took = time.perf_counter() - began
    good = [reply for reply in replies if reply.bytes_from and not reply.error]
    if not good:
        raise RuntimeError(f"no question was answered: {replies[0].error if replies else 'none was asked'}")
    stats = engine_stats()
    total = sorted(reply.total_ms for reply in good)
    first = sorted(reply.first_ms for reply in good)
    return Zipf(
        videos=len(videos),
        questions=len(replies),
        cache_share=share,
        seconds=took,
        hit_ratio=_hits(before, stats, "video"),
        low_hit_ratio=_hits(before, stats, "low_memory"),
        p50_ms=_percentile(total, 0.5),
        p99_ms=_percentile(total, 0.99),
        first_p50_ms=_percentile(first, 0.5),
        first_p99_ms=_percentile(first, 0.99),
        failed=len(replies) - len(good),
        bytes_from=_sum_bytes(good),
        memory_mib=memory.spread(),
        growth_mib_per_minute=memory.growth(),
        latencies_ms=tuple(total),
    )


def engine_stats() -> EngineStats:
    """Of the service's engine, which is one."""
    stats: EngineStats = serve.get_deployment_handle("Engine", APPLICATION).stats.remote().result()
    return stats


def engine_process() -> psutil.Process:
    """The process of the service's engine, which is one."""
    return psutil.Process(engine_stats().pid)


def _hits(before: EngineStats, after: EngineStats, cache: str) -> float:
    """Share of what was wanted from ``cache`` between two looks that was in it."""
    hits = after.caches[cache].hits - before.caches[cache].hits
    misses = after.caches[cache].misses - before.caches[cache].misses
    return hits / max(1, hits + misses)


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _sum_bytes(replies: Sequence[Reply]) -> dict[str, dict[str, int]]:
    """Where the answers' bytes came from."""
    total: dict[str, dict[str, int]] = {}
    for reply in replies:
        for level, origins in reply.bytes_from.items():
            for origin, size in origins.items():
                by_origin = total.setdefault(level, {})
                by_origin[origin] = by_origin.get(origin, 0) + size
    return total


class _Memory:
    """Samples the resident memory of the engine's process."""

    def __init__(self) -> None:
        self._process = engine_process()
        self._samples: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def spread(self, count: int = 8) -> tuple[float, ...]:
        """MiB at ``count`` times, evenly over the second half of the run: caches fill in the first."""
        settled = self._settled()
        step = max(1, len(settled) // count)
        return tuple(settled[::step][:count])

    def growth(self) -> float:
        """MiB a minute over the second half of the run."""
        settled = self._settled()[:: max(1, len(self._samples) // 400)]
        slopes = [(b - a) / (j - i) for (i, a), (j, b) in itertools.combinations(enumerate(settled), 2)]
        step_s = _EVERY_S * max(1, len(self._samples) // 400)
        return statistics.median(slopes) * 60 / step_s if slopes else 0.0

    def _settled(self) -> list[float]:
        return self._samples[len(self._samples) // 2 :]

    def _sample(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._samples.append(self._process.memory_info().rss / 2**20)
