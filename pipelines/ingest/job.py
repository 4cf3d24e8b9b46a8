"""What all workers of a job need to know, found out once before any of them starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.kv import LEVELS, Level
from videox2l.store import Archive, IndexSpec
from videox2l.video import Chunk, DecodedChunk, FrameFormat, VideoPlan

Decoder = Callable[[str, Sequence[Chunk], FrameFormat], Iterator[DecodedChunk]]
"""The contract of :func:`videox2l.video.decode_chunks`; another implementation may decode on hardware."""


@dataclass(frozen=True)
class ModelChoice:
    """Which model, where and in which precision: the arguments of :func:`videox2l.load_model`."""

    name: str
    device: str
    dtype: str | None


@dataclass(frozen=True)
class ModelFacts:
    """What the job must know of a model without holding its weights."""

    spec: IndexSpec
    compression: CompressionConfig
    frame_format: FrameFormat
    tokens_per_frame: int
    bytes_per_token: int

    def expected_bytes(self, plan: VideoPlan) -> dict[Level, int]:
        """Bytes of keys and values that each level of ``plan`` will take, without the few around each tensor."""
        return {level: self.bytes_per_token * sum(self._memory_tokens(plan, level)) for level in LEVELS}

    def _memory_tokens(self, plan: VideoPlan, level: Level) -> Iterator[int]:
        last = len(plan.chunks) - 1
        for chunk in plan.chunks:
            tokens = len(chunk.pts) * self.tokens_per_frame
            ratio = self.compression.ratio(level, edge=chunk.index in (0, last))
            yield -(-tokens // ratio) if self.compression.remainder == "close" else tokens // ratio


@dataclass(frozen=True)
class Job:
    """Travels to every worker. ``archive`` is None in a dry run for which there is no archive yet.

    ``recordings``: by :func:`~videox2l.identity.source_url` the ids of the stored videos that sources may continue.
    """

    archive: Archive | None
    model: ModelChoice
    facts: ModelFacts
    sampling: SamplingConfig
    dry_run: bool
    decoder: Decoder
    decode_timeout_s: float
    replace: bool = False
    recorded_at: str | None = None
    recordings: Mapping[str, str] = field(default_factory=dict)
