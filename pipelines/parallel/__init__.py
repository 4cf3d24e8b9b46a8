"""Models too large for one device, on Ray: one actor a rank in one placement group."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.parallel.group import ParallelModel, RanksLostError

__all__ = ["ParallelModel", "RanksLostError"]


def __getattr__(name: str) -> Any:
    # On first use: placing ranks, which is all that most processes of an ingest do, needs no model.
    if name in __all__:
        from pipelines.parallel import group

        return getattr(group, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
