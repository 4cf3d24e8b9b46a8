"""One ingest as a process that may be killed: ``python -m tests.faults.job SETTINGS``. Prints a line an event."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pipelines.ingest import ChunkDone, Event, IngestSettings, IngestSummary, RowFinished, ingest
from tests.faults.decoders import dragging, harmed
from videox2l.config import CompressionConfig, SamplingConfig

SAMPLING = SamplingConfig(fps=10)
COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=10)


def run(sources: list[str], archive: str, checkpoint: str, **options: Any) -> IngestSummary:
    """An ingest with a journal behind each chunk, on the cluster that this process is connected to."""
    call = {name: options.pop(name) for name in ("decoder", "on_progress", "storage_options") if name in options}
    shared = {"model": checkpoint, "sampling": SAMPLING, "compression": COMPRESSION, "device": "cpu"}
    settings = IngestSettings(**(shared | {"journal_every_s": 0, "decode_timeout_s": 4} | options))
    return ingest(sources, archive, settings, **({"decoder": harmed} | call))


def tell(event: Event) -> None:
    """For whoever reads this process's output."""
    if isinstance(event, ChunkDone):
        print(json.dumps({"source": Path(event.source).name, "done": event.done}), flush=True)  # noqa: T201
    elif isinstance(event, RowFinished):
        print(json.dumps({"source": Path(event.row.source).name, "status": event.row.status}), flush=True)  # noqa: T201


if __name__ == "__main__":
    run(**json.loads(sys.argv[1]), decoder=dragging, on_progress=tell)
