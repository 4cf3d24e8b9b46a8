"""What the service tells Prometheus at ``/metrics``: its own counts, and those of all engines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pipelines.serve.engine import EngineStats
from pipelines.serve.schema.completion import Usage
from videox2l.answering import Answer

PREFIX = "videox2l_serve_"

# Seconds. From what a warm question on a GPU takes to what people give up on.
_LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


@dataclass(frozen=True)
class Kind:
    """One metric: what kind it is, what it says, and the labels that tell its series apart."""

    kind: Literal["counter", "gauge", "histogram"]
    description: str
    labels: tuple[str, ...] = ()


METRICS: Mapping[str, Kind] = MappingProxyType(
    {
        "requests_total": Kind("counter", "Requests by route and HTTP status.", ("route", "method", "status")),
        "request_seconds": Kind("histogram", "From a request's arrival to the end of its answer.", ("route",)),
        "requests_running": Kind("gauge", "Requests that are being answered."),
        "first_token_seconds": Kind("histogram", "From a question's arrival to the first piece of its answer."),
        "tokens_total": Kind("counter", "Tokens of answered questions, as their usage says.", ("kind",)),
        "answers_total": Kind("counter", "Complete answers, by how they ended.", ("finish_reason",)),
        "degraded_answers_total": Kind("counter", "Answers that lack detail of a chunk that was chosen."),
        "kv_bytes_total": Kind("counter", "Bytes of KVs that answers rest on.", ("level", "source")),
        "rate_limited_total": Kind("counter", "Requests refused because their key asks too often.", ("key",)),
        "overloaded_total": Kind("counter", "Requests refused because everything is full, or not up."),
        "broken_streams_total": Kind("counter", "Streams that ended with an error behind their first byte."),
        "retries_total": Kind("counter", "Questions asked again because their engine was lost."),
        "ingests_total": Kind("counter", "Ingests that were submitted here."),
        "engines": Kind("gauge", "Engines that answer."),
        "resident_videos": Kind("gauge", "Videos whose high KVs engines hold."),
        "resident_bytes": Kind("gauge", "Their size."),
        "questions_running": Kind("gauge", "Questions that the engines work on."),
        "questions_waiting": Kind("gauge", "Questions that fetch KVs or wait for the model."),
        "questions_total": Kind("counter", "Questions that came to the engines."),
        "generated_tokens_total": Kind("counter", "Tokens that the engines have generated."),
        "cache_bytes": Kind("gauge", "Bytes in a cache of the engines.", ("cache",)),
        "cache_hits_total": Kind("counter", "How often what was wanted was in it.", ("cache",)),
        "cache_misses_total": Kind("counter", "How often it was not.", ("cache",)),
    }
)
"""All metrics by name, without the prefix ``videox2l_serve_``."""

_OF_ENGINES = frozenset(
    "engines resident_videos resident_bytes questions_running questions_waiting questions_total "
    "generated_tokens_total cache_bytes cache_hits_total cache_misses_total".split()
)


@dataclass
class ServiceMetrics:
    """Counts of one ingress."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self._counters = {name: Counter(PREFIX + name, *_about(name)) for name in _own("counter")}
        self._histograms = {
            name: Histogram(PREFIX + name, *_about(name), buckets=_LATENCIES) for name in _own("histogram")
        }
        self._gauges = {name: Gauge(PREFIX + name, *_about(name)) for name in _own("gauge")}
        for metric in (*self._counters.values(), *self._histograms.values(), *self._gauges.values()):
            self.registry.register(metric)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add to a histogram."""
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(seconds)

    def running(self, change: int) -> None:
        """One request more or less."""
        self._gauges["requests_running"].inc(change)

    def answered(self, usage: Usage, answers: Sequence[Answer], *, budgeted: bool) -> None:
        """Take in all choices of a request. ``budgeted``: it asked for less detail itself, so a lack of it is none."""
        self.count("tokens_total", usage.prompt_tokens, kind="prompt")
        self.count("tokens_total", usage.completion_tokens, kind="completion")
        for answer in answers:
            self.count("answers_total", finish_reason=answer.finish_reason)
            self.count("degraded_answers_total", bool(answer.degraded) and not budgeted)
            for level, sources in answer.receipt.bytes_from.items():
                for source, size in sources.items():
                    self.count("kv_bytes_total", size, level=level, source=source)

    def exposition(self, engines: Sequence[EngineStats]) -> bytes:
        """Everything in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(_Engines(engines))
        return generate_latest(self.registry) + generate_latest(registry)


class _Engines:
    """A collector of the engines' numbers, summed: a question may go to any of them."""

    def __init__(self, engines: Sequence[EngineStats]) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        engines = self._engines
        yield _family("engines", [((), len(engines))])
        for name, attribute in {
            "resident_videos": "resident_videos",
            "resident_bytes": "resident_bytes",
            "questions_running": "running",
            "questions_waiting": "waiting",
            "questions_total": "questions",
            "generated_tokens_total": "tokens_generated",
        }.items():
            yield _family(name, [((), sum(getattr(stats, attribute) for stats in engines))])
        caches = sorted({cache for stats in engines for cache in stats.caches})
        for name, attribute in {
            "cache_bytes": "bytes",
            "cache_hits_total": "hits",
            "cache_misses_total": "misses",
        }.items():
            yield _family(
                name,
                [
                    (
                        (cache,),
                        sum(getattr(stats.caches[cache], attribute) for stats in engines if cache in stats.caches),
                    )
                    for cache in caches
                ],
            )


def _family(name: str, samples: Sequence[tuple[tuple[str, ...], float]]) -> Metric:
    about = METRICS[name]
    made = CounterMetricFamily if about.kind == "counter" else GaugeMetricFamily
    family = made(PREFIX + name, about.description, labels=about.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _own(kind: str) -> Iterator[str]:
    return (name for name, about in METRICS.items() if about.kind == kind and name not in _OF_ENGINES)


def _about(name: str) -> tuple[str, tuple[str, ...], str, str, str, None]:
    # Neither namespace, subsystem nor unit, and no registry: they are put into the service's own.
    return METRICS[name].description, METRICS[name].labels, "", "", "", None
