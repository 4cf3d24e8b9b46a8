"""The stage that asks: a process with the model, a video with all of its questions at a time."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videox2l.errors import VideoX2LError
from videox2l.evaluation.benchmarks import Item
from videox2l.evaluation.benchmarks.records import Asking
from videox2l.store import Archive


@dataclass(frozen=True)
class Work:
    """One video and its questions. ``source``: the file, to be decoded again. ``key``: of its part."""

    key: str
    video_id: str
    index_fp: str
    source: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class StageSettings:
    """What a process that asks must know."""

    benchmark: str
    archive: Archive
    model: str
    device: str
    dtype: str | None
    asking: Asking
    slots: int
    threads: float


class AskStage:
    """Called by Ray Data with one row a video: ``number``, of ``works``, which came with the stage."""

    def __init__(self, settings: StageSettings, works: dict[int, Work]) -> None:
        import torch

        from videox2l.evaluation.benchmarks import benchmark
        from videox2l.evaluation.benchmarks.asking import Asker
        from videox2l.models import load_model

        if settings.device == "cpu":
            torch.set_num_threads(max(1, math.ceil(settings.threads)))
        model = load_model(settings.model, device=settings.device, dtype=settings.dtype)
        self._works = works
        self._asker = Asker(
            model, settings.archive, benchmark(settings.benchmark), settings.asking, slots=settings.slots
        )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """``records``: JSON of them all; or ``error``, and no records, where the video cannot be asked about."""
        work = self._works[row["number"]]
        try:
            records = self._asker.ask(work.video_id, work.index_fp, Path(work.source), work.items)
        except VideoX2LError as error:
            return {"number": row["number"], "records": "", "error": str(error)}
        found = json.dumps([dataclasses.asdict(record) for record in records])
        return {"number": row["number"], "records": found, "error": ""}
