"""Measuring answers: suites and public benchmarks."""
