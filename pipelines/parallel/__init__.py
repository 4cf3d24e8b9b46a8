"""Models too large for one device, on Ray: one actor a rank in one placement group."""

from pipelines.parallel.group import ParallelModel, RanksLostError

__all__ = ["ParallelModel", "RanksLostError"]
