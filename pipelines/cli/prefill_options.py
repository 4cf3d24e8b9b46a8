"""Options of commands that prefill videos: which frames are looked at, and how strongly KVs are compressed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from pipelines.cli import options
from videox2l.config import CompressionConfig, SamplingConfig


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video the model looks at."""

    fps: options.Fps = 1.0
    frames: options.Frames = None
    max_frames: options.MaxFrames = None

    def config(self) -> SamplingConfig:
        """:raises ConfigError: a number is out of range."""
        return SamplingConfig(self.fps, self.frames, self.max_frames)


@dataclass(frozen=True)
class Compression:
    """What becomes of a chunk at the two levels; what is not said is as the model has it."""

    low_ratio: options.LowRatio = None
    high_ratio: options.HighRatio = None
    frames_per_chunk: options.FramesPerChunk = None
    edge_ratio: options.EdgeRatioText = None
    remainder: options.Remainder = None
    prefill: options.Prefill = None

    def config(self, model: str) -> CompressionConfig | None:
        """That of ``model`` with what was said here; ``None`` where nothing was.

        :raises ConfigError: a setting is impossible.
        """
        return options.compression(model, **dataclasses.asdict(self))
