"""Public benchmarks in their published file formats: questions in, letters out, accuracy with standard errors."""

from videox2l.evaluation.benchmarks.benchmark import Benchmark, Item, Loaded, Problem
from videox2l.evaluation.benchmarks.registry import BENCHMARKS, benchmark

__all__ = ["BENCHMARKS", "Benchmark", "Item", "Loaded", "Problem", "benchmark"]
