"""One video into an archive, in the calling process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.errors import ConfigError
from videox2l.identity import VideoIdentity
from videox2l.kv import Level
from videox2l.models import KVCompressibleModel, PrefillState
from videox2l.models.memory import check_fits
from videox2l.models.retriever import Retriever, load_retriever
from videox2l.prefill.chunks import Progress, index_spec, prefill_chunks, timeline_of
from videox2l.store import DEFAULT_CODECS, Archive, IndexWriter, Manifest
from videox2l.store.metadata import MetadataValue
from videox2l.video import Chunk, decode_chunks_isolated, plan_video_isolated

Warn = Callable[[str], None]
"""Called with a sentence for the user."""


def ingest_video(
    model: KVCompressibleModel,
    archive: Archive,
    source: str | Path,
    *,
    sampling: SamplingConfig | None = None,
    compression: CompressionConfig | None = None,
    codecs: Mapping[Level, str] = DEFAULT_CODECS,
    replace: bool = False,
    recorded_at: str | None = None,
    name: str | None = None,
    metadata: Mapping[str, MetadataValue] | None = None,
    progress: Progress | None = None,
    warn: Warn | None = None,
    device_memory: int | None = None,
    thumbnails: bool = True,
    retriever: str | None = None,
) -> tuple[VideoIdentity, Manifest | None]:
    """Prefill one video on a model of this process and commit it; decoding runs in a child, which a file may kill.

    ``replace``, ``recorded_at`` and ``metadata`` are those of :meth:`~videox2l.store.Archive.create_index`; ``name`` is
    used in place of the file's. Returns ``None`` for a manifest where the index was committed already; what is newly
    said of the video is noted on it then. ``device_memory``: bytes that it may take on the model's device, beside the
    weights; by default what is free there. ``thumbnails``: also store a small picture of each chunk. ``retriever``:
    also store what it makes of each chunk, for ``--select retriever``: a name as of
    :func:`~videox2l.models.retriever.load_retriever`.

    Raises :class:`~videox2l.errors.VideoError` for a file that cannot be used; nothing is left behind then. Raises
    :class:`~videox2l.errors.InsufficientMemoryError` before the prefill of a video that is too long for the device.
    """
    sampling, compression = sampling or SamplingConfig(), compression or model.default_compression
    recorded_at = None if recorded_at is None else wall_clock(recorded_at)
    spec = index_spec(model, sampling, compression, codecs)
    identity = archive.identify(source)
    identity = dataclasses.replace(identity, name=name or identity.name)
    if not replace and archive.has(identity.video_id, spec):
        archive.describe(identity, spec.index_fp, recorded_at=recorded_at, metadata=metadata)
        return identity, None
    plan = plan_video_isolated(source, sampling, compression.frames_per_chunk)
    with archive.create_index(identity, spec, replace=replace, recorded_at=recorded_at, metadata=metadata) as writer:
        manifest = write_index(
            model,
            compression,
            source,
            plan.chunks,
            writer,
            progress=progress,
            warn=warn,
            device_memory=device_memory,
            thumbnails=thumbnails,
            retriever=None if retriever is None else load_retriever(retriever, model),
        )
    return identity, manifest


def write_index(
    model: KVCompressibleModel,
    compression: CompressionConfig,
    source: str | Path,
    chunks: Sequence[Chunk],
    writer: IndexWriter,
    *,
    resume: PrefillState | None = None,
    progress: Progress | None = None,
    warn: Warn | None = None,
    device_memory: int | None = None,
    thumbnails: bool = True,
    retriever: Retriever | None = None,
) -> Manifest:
    """Decode and prefill those of a plan's ``chunks`` that ``writer`` does not have yet, and commit.

    Raises:
        VideoError: a chunk does not decode.
        SourceChangedError: the file was overwritten or removed meanwhile.
        AlreadyCommittedError: another writer was faster.
        InsufficientMemoryError: the device cannot hold so many, or not in ``device_memory`` bytes beside the weights.
    """
    writer.retrieved_by(None if retriever is None else retriever.identity)
    check_fits(model.workload(compression, len(chunks)), model.decoder.device, loaded=True, free=device_memory)
    with closing(decode_chunks_isolated(source, chunks[writer.chunks :], model.frame_format)) as decoded:
        report = prefill_chunks(
            model,
            compression,
            decoded,
            len(chunks),
            writer,
            progress,
            resume,
            thumbnails,
            timeline_of(chunks),
            retriever,
        )
    if warn is not None and report.warning is not None:
        warn(report.warning)
    writer.check_source(source)
    return writer.commit()


def wall_clock(text: str) -> str:
    """An ISO 8601 time with its offset from UTC, in one notation.

    Raises :class:`ConfigError` for anything else: without the offset nobody elsewhere knows which moment is meant.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ConfigError(
            f"{text!r} is no ISO 8601 time with its offset from UTC. Write it as 2026-05-01T09:00:00+02:00, or with a "
            "Z at the end for UTC."
        )
    return time.isoformat()
