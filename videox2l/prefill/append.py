"""Going on with the index of a recording that has grown, from the KVs that are stored, instead of from its beginning.

The last stored chunk is always done again: it may have been short, and as the video's last chunk it was compressed at
the edge ratio. What a prefill knows *before* that chunk does not depend on where the video ended, so the result is bit
for bit that of one ingest of the whole file on the same machine, whatever the edge ratio.

That holds only where stored KVs come back bit for bit (lossless codecs), where both levels are there, and where a frame
that was sampled stays sampled when the video grows (``fps`` without a number of frames).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.errors import VideoX2LError
from videox2l.identity import VideoIdentity, source_url
from videox2l.kv import LEVELS, ChunkKV, Level
from videox2l.kv.codecs import CODECS
from videox2l.models import KVCompressibleModel, PrefillState
from videox2l.models.retriever import load_retriever
from videox2l.prefill.chunks import Progress, frames_checksum, index_spec
from videox2l.prefill.ingest import Warn, ingest_video, write_index
from videox2l.store import DEFAULT_CODECS, Archive, ChunkEntry, IndexReader, Manifest
from videox2l.video import Chunk, VideoPlan, decode_chunks_isolated, plan_video_isolated

# How far back the end of a recording can have been uncertain. A frame that was still missing in the file, because
# encoders store frames out of order, or whose duration had to be guessed, is replaced by its neighbour in the sample;
# a second of such frames straddles at most one border between chunks.
_UNSETTLED_CHUNKS = 3

# Chunks read at a time when a memory is restored: enough to hide latency, little beside the memory itself.
_CHUNKS_READ_AT_ONCE = 16

DecodeFrames = Callable[[Chunk], np.ndarray]
"""Decodes one chunk: uint8 [F, H, W, 3] as the model sees it."""


class AppendError(VideoX2LError):
    """An index cannot be continued with this file or these settings."""


def append_video(
    model: KVCompressibleModel,
    archive: Archive,
    source: str | Path,
    *,
    append_to: str | None = None,
    sampling: SamplingConfig | None = None,
    compression: CompressionConfig | None = None,
    codecs: Mapping[Level, str] = DEFAULT_CODECS,
    recorded_at: str | None = None,
    progress: Progress | None = None,
    warn: Warn | None = None,
    thumbnails: bool = True,
    retriever: str | None = None,
) -> tuple[VideoIdentity, Manifest | None]:
    """Bring the index of a recording that has grown up to date without prefilling its past again.

    It is the one that was made of the same path or URL with these settings, or that of the video ``append_to`` (see
    :meth:`~videox2l.store.Archive.resolve`). It keeps its video id. Without such an index, this is
    :func:`~videox2l.prefill.ingest_video`, and ``recorded_at`` is used. Returns ``None`` for a manifest where nothing
    new was recorded.

    Raises:
        AppendError: the file does not continue what is stored, or these settings cannot be continued.
        AlreadyCommittedError: another writer continued the index at the same time.
        VideoNotFoundError, FingerprintMismatchError: no index of ``append_to`` with these settings.
        VideoError: the file cannot be used.
    """
    sampling, compression = sampling or SamplingConfig(), compression or model.default_compression
    check_settings(sampling, codecs)
    spec = index_spec(model, sampling, compression, codecs)
    video_id = known_recordings(archive, spec.index_fp).get(source_url(source))
    video_id = video_id if append_to is None else archive.resolve(append_to)
    if video_id is None:
        return ingest_video(
            model,
            archive,
            source,
            sampling=sampling,
            compression=compression,
            codecs=codecs,
            recorded_at=recorded_at,
            progress=progress,
            warn=warn,
            thumbnails=thumbnails,
            retriever=retriever,
        )
    reader = archive.open_index(video_id, spec=spec)
    identity = dataclasses.replace(archive.identify(source), video_id=video_id)
    if identity.sha256 == reader.manifest.video.sha256:
        return identity, None

    def decode(chunk: Chunk) -> np.ndarray:
        with closing(decode_chunks_isolated(source, [chunk], model.frame_format)) as decoded:
            return next(decoded).frames_FHWC

    plan = plan_video_isolated(source, sampling, compression.frames_per_chunk)
    keep = chunks_to_keep(reader.manifest, plan, decode)
    if keep is None:
        return identity, None
    with archive.extend_index(reader.manifest, identity, keep) as writer:
        manifest = write_index(
            model,
            compression,
            source,
            plan.chunks,
            writer,
            resume=stored_state(reader, keep),
            progress=progress,
            warn=warn,
            thumbnails=thumbnails,
            retriever=None if retriever is None else load_retriever(retriever, model),
        )
    return identity, manifest


def check_settings(sampling: SamplingConfig, codecs: Mapping[Level, str]) -> None:
    """Whether an index made with these can be continued at all.

    :raises AppendError: it cannot; the message says why.
    """
    if sampling.frames is not None or sampling.max_frames is not None:
        name = "frames" if sampling.frames is not None else "max_frames"
        raise AppendError(
            f"an index with a fixed number of frames ({name}) cannot be continued: they move when the video grows. "
            "Sample by fps alone, or ingest the whole video anew."
        )
    lossy = [f"{level} is stored as {codecs[level]}" for level in LEVELS if not CODECS[codecs[level]].lossless]
    if lossy:
        names = ", ".join(name for name, codec in CODECS.items() if codec.lossless)
        raise AppendError(
            f"an index can only be continued from lossless KVs, but {' and '.join(lossy)}. Use {names}, or ingest the "
            "whole video anew."
        )


def known_recordings(archive: Archive, index_fp: str) -> dict[str, str]:
    """Video ids by the path or URL of their source, of videos that have this index; of several the latest ingest."""
    rows = [row for video in archive.videos() for row in video.indexes if row.index_fp == index_fp]
    return {row.source: row.video_id for row in sorted(rows, key=lambda row: row.created)}


def chunks_to_keep(manifest: Manifest, plan: VideoPlan, decode: DecodeFrames) -> int | None:
    """How many stored chunks the grown video begins with, the last one not among them; None if nothing was added.

    ``plan`` is the grown video's, made with the manifest's settings. ``decode`` is called for the chunk behind those
    that are kept, whose frames prove that this is the same recording.

    :raises AppendError: it is another one, or it was encoded again; or a level is no longer stored.
    """
    if manifest.dropped:
        raise AppendError(
            f"{manifest.video.name}: its {' and '.join(manifest.dropped)} KVs were removed to save space, and without "
            "them it cannot be continued. Ingest it anew with --replace."
        )
    stored, planned = manifest.chunks, plan.chunks
    same_times = [_span(entry) for entry in stored] == [_planned_span(chunk) for chunk in planned]
    shrunk = plan.frames < sum(entry.frames for entry in stored)
    for keep in () if shrunk else range(len(stored) - 1, max(-1, len(stored) - 1 - _UNSETTLED_CHUNKS), -1):
        if keep < len(planned) and _begins_alike(stored, planned, keep) and _same_frames(stored[keep], planned, decode):
            return None if same_times and keep == len(stored) - 1 else keep
    raise AppendError(
        f"{plan.info.source} does not continue what is stored as {manifest.video.name}: its first "
        f"{manifest.duration_s:.1f} s are other pictures or have other times. It is another recording, or was cut or "
        "encoded again. Ingest it without --append, as a video of its own."
    )


def stored_state(reader: IndexReader, keep: int) -> PrefillState | None:
    """What a prefill goes on from behind the first ``keep`` chunks; None for the beginning.

    :raises CorruptDataError: a stored KV is damaged, now or while the chunks are read.
    """
    return PrefillState(reader.prompt(), _stored_chunks(reader, keep)) if keep else None


def _stored_chunks(reader: IndexReader, keep: int) -> Iterator[ChunkKV]:
    for start in range(0, keep, _CHUNKS_READ_AT_ONCE):
        numbers = range(start, min(start + _CHUNKS_READ_AT_ONCE, keep))
        low, high = reader.low_many(numbers), reader.high(numbers)
        for number, high_kv in zip(numbers, high, strict=True):
            yield {"low": low[number], "high": high_kv}


_Span = tuple[float, float, int]
"""Begin and end in seconds, and number of frames."""


def _span(entry: ChunkEntry) -> _Span:
    return entry.start_s, entry.end_s, entry.frames


def _planned_span(chunk: Chunk) -> _Span:
    return chunk.start_s, chunk.end_s, len(chunk.pts)


def _begins_alike(stored: Sequence[ChunkEntry], planned: Sequence[Chunk], keep: int) -> bool:
    return [_span(entry) for entry in stored[:keep]] == [_planned_span(chunk) for chunk in planned[:keep]]


def _same_frames(entry: ChunkEntry, planned: Sequence[Chunk], decode: DecodeFrames) -> bool:
    chunk = planned[entry.index]
    if len(chunk.pts) < entry.frames or chunk.start_s != entry.start_s:
        return False
    return frames_checksum(decode(chunk)[: entry.frames]) == entry.frames_checksum
