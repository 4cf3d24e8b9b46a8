"""Small archives made in process, without video files: random frames through the real prefill and the real store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.identity import VideoIdentity
from videox2l.models import KVCompressibleModel
from videox2l.models.retriever import load_retriever
from videox2l.prefill import index_spec, prefill_chunks
from videox2l.store import Archive, IndexReader
from videox2l.store.calibration import CalibratedSetting, Calibration
from videox2l.store.manifest import Manifest
from videox2l.video import Chunk, DecodedChunk

COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=10)


def random_chunks(
    model: KVCompressibleModel, chunks: int, *, seed: int = 0, frames: int = 10
) -> Iterator[DecodedChunk]:
    """``chunks`` chunks of random frames in the model's format, one frame a second."""
    rng = np.random.default_rng(seed)
    shape = (frames, model.frame_format.height, model.frame_format.width, 3)
    for index in range(chunks):
        start = index * frames
        stamps = tuple(range(start, start + frames))
        chunk = Chunk(index, float(start), float(start + frames), tuple(map(float, stamps)), stamps, stamps)
        yield DecodedChunk(chunk, rng.integers(0, 256, shape, dtype=np.uint8))


def random_index(
    archive: Archive,
    model: KVCompressibleModel,
    name: str = "random.mp4",
    *,
    chunks: int = 5,
    seed: int = 0,
    replace: bool = False,
    source: str = "",
    thumbnails: bool = True,
    retriever: str | None = None,
    compression: CompressionConfig = COMPRESSION,
) -> IndexReader:
    """Prefill and commit a video that never was a file; return its reader."""
    digest = hashlib.sha256(f"{name} {seed}".encode()).hexdigest()
    identity = VideoIdentity(digest[:32], name, source or f"file:///videos/{name}", size=1, sha256=digest)
    spec = index_spec(model, SamplingConfig(), compression)
    chosen = None if retriever is None else load_retriever(retriever, model)
    with archive.create_index(identity, spec, replace=replace) as writer:
        writer.retrieved_by(None if chosen is None else chosen.identity)
        frames = random_chunks(model, chunks, seed=seed)
        prefill_chunks(model, compression, frames, chunks, writer, thumbnails=thumbnails, retriever=chosen)
        writer.commit()
    return archive.open_index(identity.video_id, spec=spec)


def calibrated(manifest: Manifest, select: str) -> Calibration:
    """A calibration, made up, that found the settings of an index good enough with two chunks of a scorer."""
    spec = manifest.spec
    good = CalibratedSetting(spec.compression, spec.codecs["low"], select, 2, 1.0, 0.01, 0.5, 1000)
    return Calibration(
        spec.model_fingerprint, "tiny-random", manifest.created, "full", 1, 20, 0.95, None, (good,), good
    )
