"""All benchmarks by name."""

from __future__ import annotations

from videox2l.errors import ConfigError
from videox2l.evaluation.benchmarks.benchmark import Benchmark
from videox2l.evaluation.benchmarks.longvideobench import LONGVIDEOBENCH
from videox2l.evaluation.benchmarks.mlvu import MLVU
from videox2l.evaluation.benchmarks.videomme import VIDEOMME
from videox2l.evaluation.benchmarks.vnbench import VNBENCH

# Add a benchmark: one file beside this one, one line here.
BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark for benchmark in (VIDEOMME, MLVU, LONGVIDEOBENCH, VNBENCH)
}


def benchmark(name: str) -> Benchmark:
    """The benchmark of this name; raises :class:`ConfigError` where there is none."""
    if name not in BENCHMARKS:
        raise ConfigError(f"no benchmark {name!r}: give one of {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
