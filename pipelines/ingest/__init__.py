"""Ingest: prefill many videos on Ray and commit each to an archive. :func:`ingest` is the way in."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.ingest.estimate import Estimate, Prices
    from pipelines.ingest.events import (
        ChunkDone,
        Event,
        JobStarted,
        OnProgress,
        RowFinished,
        VideoPlanned,
        VideoStarted,
    )
    from pipelines.ingest.pipeline import ingest
    from pipelines.ingest.progress import IngestProgress
    from pipelines.ingest.rows import IngestRow, Status
    from pipelines.ingest.settings import DECODE_TIMEOUT_S, IngestSettings
    from pipelines.ingest.sources import VideoRequest, expand_sources
    from pipelines.ingest.summary import IngestSummary

# Imported on first use: the processes that only decode, or keep count, need neither torch nor Ray Data.
_HOMES = {
    "ChunkDone": "events",
    "Event": "events",
    "JobStarted": "events",
    "OnProgress": "events",
    "RowFinished": "events",
    "VideoPlanned": "events",
    "VideoStarted": "events",
    "DECODE_TIMEOUT_S": "settings",
    "ingest": "pipeline",
    "IngestProgress": "progress",
    "IngestRow": "rows",
    "IngestSettings": "settings",
    "Status": "rows",
    "Estimate": "estimate",
    "Prices": "estimate",
    "VideoRequest": "sources",
    "expand_sources": "sources",
    "IngestSummary": "summary",
}

__all__ = [
    "DECODE_TIMEOUT_S",
    "ChunkDone",
    "Estimate",
    "Event",
    "IngestProgress",
    "IngestRow",
    "IngestSettings",
    "IngestSummary",
    "JobStarted",
    "OnProgress",
    "Prices",
    "RowFinished",
    "Status",
    "VideoPlanned",
    "VideoRequest",
    "VideoStarted",
    "expand_sources",
    "ingest",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"pipelines.ingest.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
