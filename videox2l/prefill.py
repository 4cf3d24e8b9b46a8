"""From a video's frames to a committed index: the part of an ingest that is one video on one model.

:func:`ingest_video` does it all in this process; the distributed ingest hands :func:`prefill_chunks` frames that other
processes decode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from videox2l.config import CompressionConfig, SamplingConfig, to_dict
from videox2l.errors import TruncatedVideoError
from videox2l.identity import VideoIdentity, video_identity
from videox2l.kv import LEVELS
from videox2l.models import KVCompressibleModel
from videox2l.store import Archive, IndexSpec, IndexWriter, Manifest
from videox2l.video import DecodedChunk, decode_chunks_isolated, plan_video_isolated

Progress = Callable[[int, int], None]
"""Called after every chunk with (chunks done, chunks in all)."""


@dataclass(frozen=True)
class PrefillReport:
    """What a prefill did. ``beyond_context`` says how far each level's positions went past the model's context."""

    chunks: int
    frames: int
    beyond_context: dict[str, int]

    @property
    def warning(self) -> str | None:
        """A sentence for the user where positions the model was never trained on were used."""
        past = {level: count for level, count in self.beyond_context.items() if count > 0}
        if not past:
            return None
        words = " and ".join(f"the {level} pass by {count} tokens" for level, count in past.items())
        return (
            f"the video exceeds the model's context ({words}): answers about its end may be poor; sample fewer frames"
        )


def index_spec(model: KVCompressibleModel, sampling: SamplingConfig, compression: CompressionConfig) -> IndexSpec:
    """Everything that decides whether stored KVs may be used again, for this model and these settings."""
    geometry = model.geometry
    return IndexSpec(
        model_fingerprint=model.identity.fingerprint,
        model=model.identity.document,
        sampling=to_dict(sampling),
        compression=to_dict(compression),
        layers=geometry.layers,
        kv_heads=geometry.kv_heads,
        head_dim=geometry.head_dim,
        dtype=geometry.dtype,
    )


def prefill_chunks(
    model: KVCompressibleModel,
    compression: CompressionConfig,
    decoded: Iterable[DecodedChunk],
    total: int,
    writer: IndexWriter,
    progress: Progress | None = None,
) -> PrefillReport:
    """Prefill ``total`` chunks, which arrive in order, and append both levels of each to ``writer``. Does not commit.

    Raises :class:`TruncatedVideoError` when fewer chunks arrive, ``ValueError`` when they arrive out of order.
    """
    prefill = model.start_prefill(compression)
    writer.put_prompt(prefill.prompt)
    done = frames = 0
    window = dict.fromkeys(LEVELS, 0)
    for item in decoded:
        if item.chunk.index != done:
            raise ValueError(f"chunk {item.chunk.index} arrived where {done} was due")
        visual_tokens_TN = model.encode_frames(torch.from_numpy(item.frames_FHWC))
        before = {level: prefill.memory_tokens(level) for level in LEVELS}
        kvs = prefill.append(visual_tokens_TN, last=done == total - 1)
        for level in LEVELS:
            window[level] = max(window[level], before[level] + len(visual_tokens_TN) + kvs[level].tokens)
        writer.append(done, item.chunk.start_s, item.chunk.end_s, len(item.frames_FHWC), kvs)
        done, frames = done + 1, frames + len(item.frames_FHWC)
        if progress is not None:
            progress(done, total)
    if done != total:
        raise TruncatedVideoError(f"{writer.video.name} ended after {done} of {total} planned chunks")
    return PrefillReport(done, frames, {level: window[level] - model.context_length for level in LEVELS})


def ingest_video(
    model: KVCompressibleModel,
    archive: Archive,
    source: str | Path,
    *,
    sampling: SamplingConfig | None = None,
    compression: CompressionConfig | None = None,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
) -> tuple[VideoIdentity, Manifest | None]:
    """Prefill one video on a model of this process and commit it; decoding runs in a child, which a file may kill.

    Returns ``None`` for a manifest where the index was committed already.

    Raises :class:`~videox2l.errors.VideoError` for a file that cannot be used; nothing is left behind then.
    """
    sampling, compression = sampling or SamplingConfig(), compression or model.default_compression
    spec = index_spec(model, sampling, compression)
    identity = video_identity(source)
    if archive.has(identity.video_id, spec):
        return identity, None
    plan = plan_video_isolated(source, sampling, compression.frames_per_chunk)
    with (
        archive.create_index(identity, spec) as writer,
        closing(decode_chunks_isolated(source, plan.chunks, model.frame_format)) as decoded,
    ):
        report = prefill_chunks(model, compression, decoded, len(plan.chunks), writer, progress)
        if warn is not None and report.warning is not None:
            warn(report.warning)
        return identity, writer.commit()
