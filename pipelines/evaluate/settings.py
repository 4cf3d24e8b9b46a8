"""What can be turned about a benchmark run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.ingest.settings import IngestSettings
from videox2l.config import to_dict
from videox2l.errors import ConfigError
from videox2l.evaluation.benchmarks.records import Asking


@dataclass(frozen=True)
class BenchmarkSettings:
    """A run of one benchmark.

    ``benchmark``: its name. ``data``: the folder that it was downloaded into. ``ingest``: the model, and how the videos
    are ingested that the archive lacks; it also says what a process that asks takes of the cluster. ``asking``: how the
    questions are asked. ``split``: by default the benchmark's first. ``limit``: only so many videos, in order.
    ``slots``: questions about one video that are decoded together.
    """

    benchmark: str
    data: Path
    ingest: IngestSettings = field(default_factory=IngestSettings)
    asking: Asking = field(default_factory=Asking)
    split: str | None = None
    subtitles: bool = False
    limit: int | None = None
    slots: int = 16

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be at least 1, got {self.limit}")
        if self.slots < 1:
            raise ConfigError(f"slots must be at least 1, got {self.slots}")
        if self.ingest.tensor_parallel > 1:
            raise ConfigError("benchmarks run on models that fit one device: leave out tensor_parallel")
        if self.ingest.continues or self.ingest.replace or self.ingest.recorded_at is not None:
            raise ConfigError("benchmarks neither continue nor replace what is in the archive")

    def about(self) -> dict[str, Any]:
        """In words, for the report."""
        asking, selection = self.asking, self.asking.selection
        how = f"{selection.select}, k = {selection.top_k}, {selection.policy}"
        limits = [f"{name} {limit:g}" for name, limit in to_dict(selection.budget).items() if limit is not None]
        sampling = self.ingest.sampling
        rate = f"{sampling.frames} frames a video" if sampling.frames else f"{sampling.fps:g} frames/s"
        most = f", at most {sampling.max_frames} frames" if sampling.max_frames else ""
        return {
            "split": self.split,
            "selection": ", ".join([how, *(["drift taken out"] if selection.correct_drift else []), *limits]),
            "controls": ", ".join(asking.controls) or "none",
            "answers": "the text that is written" if asking.scoring == "generate" else "the likeliest letter",
            "frames": rate + most,
            "subtitles": "in the prompt" if self.subtitles else "none",
            **({"only the first videos": self.limit} if self.limit else {}),
        }
