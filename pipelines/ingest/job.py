"""What all workers of a job need to know, found out once before any of them starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch

from pipelines.ingest.memory import ActorMemory
from videox2l.config import CompressionConfig, SamplingConfig, to_dict
from videox2l.kv import KV, LEVELS, Level
from videox2l.kv.codecs import codec
from videox2l.store import Archive, IndexSpec
from videox2l.video import Chunk, DecodedChunk, FrameFormat, VideoPlan

JOURNAL_EVERY_S = 10.0
"""A prefill that dies loses about as many seconds of work at most. A large model's chunks, of a second or more each,
fill shards of their own anyway; of a small one, whose hundreds of chunks would share a shard, there is one more of each
level every ten seconds. Clips that take less have no journal at all."""

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
    """What the job must know of a model without holding its weights. ``memory``: None where nobody can tell."""

    spec: IndexSpec
    compression: CompressionConfig
    frame_format: FrameFormat
    tokens_per_frame: int
    bytes_per_token: int
    memory: ActorMemory | None = None

    def spec_of(self, sampling: SamplingConfig) -> IndexSpec:
        """The index of a video of which other frames are looked at than those of the job."""
        return dataclasses.replace(self.spec, sampling=to_dict(sampling))

    def expected_bytes(self, plan: VideoPlan) -> dict[Level, int]:
        """Bytes of keys and values that each level of ``plan`` will take, without the few around each tensor.

        Exact for codecs whose output has a fixed size. ``squeeze`` is lossless, so what it saves depends on the KVs.
        """
        return {
            level: round(
                sum(
                    self.bytes_per_token * tokens * _stored_share(self.spec, level, tokens)
                    for tokens in self._memory_tokens(plan, level)
                )
            )
            for level in LEVELS
        }

    def _memory_tokens(self, plan: VideoPlan, level: Level) -> Iterator[int]:
        last = len(plan.chunks) - 1
        for chunk in plan.chunks:
            tokens = len(chunk.pts) * self.tokens_per_frame
            ratio = self.compression.ratio(level, edge=chunk.index in (0, last))
            yield -(-tokens // ratio) if self.compression.remainder == "close" else tokens // ratio


def _stored_share(spec: IndexSpec, level: Level, tokens: int) -> float:
    """Bytes that the level's codec makes of one byte of a KV of so many tokens."""
    return _encoded_share(spec.codecs[level], spec.dtype, spec.head_dim, tokens)


@cache
def _encoded_share(name: str, dtype: str, head_dim: int, tokens: int) -> float:
    # Of one head: codecs treat all alike. Noise is what a lossless codec gains least on.
    if tokens == 0:
        return 1.0
    random = torch.Generator().manual_seed(0)
    shape = (1, 1, tokens, head_dim)
    keys, values = (torch.randn(shape, generator=random).to(getattr(torch, dtype)) for _ in range(2))
    kv = KV(keys, values)
    encoded = codec(name).encode(kv).values()
    return sum(len(data) if isinstance(data, bytes) else data.nbytes for data in encoded) / kv.nbytes


@dataclass(frozen=True)
class Job:
    """Travels to every worker. ``archive`` is None in a dry run for which there is no archive yet.

    ``recordings``: by :func:`~videox2l.identity.source_url` the ids of the stored videos that sources may continue.
    ``ranks``: processes that hold the model together. ``videos_at_once``: on one of its copies.
    """

    archive: Archive | None
    model: ModelChoice
    facts: ModelFacts
    sampling: SamplingConfig
    dry_run: bool
    decoder: Decoder
    decode_timeout_s: float
    replace: bool = False
    recordings: Mapping[str, str] = field(default_factory=dict)
    journal_every_s: float = JOURNAL_EVERY_S
    retry_quarantined: bool = False
    ranks: int = 1
    videos_at_once: int = 1
    thumbnails: bool = True
    retriever: str | None = None
