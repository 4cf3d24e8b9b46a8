"""Recordings that grow, and what two indexes of one video must have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.unit.video.clips import write_numbered_clip
from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.store import Manifest

SAMPLING = SamplingConfig(fps=10)
COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=10)

# With B-frames, a file that is cut anywhere may lack frames between others: encoders store them out of order.
X264 = {"preset": "veryfast", "g": "12", "bf": "3", "threads": "1"}

# How a recorder writes that cannot go back to its file's beginning.
LIVE = {".ts": {}, ".mkv": {"live": "1"}}


def record(path: Path, pts: Sequence[int], **options: str) -> Path:
    """A clip of numbered frames at ``pts`` milliseconds, in a container that a recorder can append to."""
    write_numbered_clip(path, pts=pts, options=X264 | options, container_options=LIVE[path.suffix])
    return path


def content(manifest: Manifest) -> dict[str, Any]:
    """All of an index that must not depend on how it came about: times, frames, attachments, and all of its KVs."""
    return {
        "prompt": manifest.prompt.checksum,
        "retriever": manifest.retriever,
        "chunks": [
            (
                chunk.index,
                chunk.start_s,
                chunk.end_s,
                chunk.frames,
                chunk.frames_checksum,
                {level: (kv.tokens, kv.checksum) for level, kv in chunk.levels.items()},
                chunk.thumbnail.checksum if chunk.thumbnail is not None else None,
                chunk.vectors.checksum if chunk.vectors is not None else None,
            )
            for chunk in manifest.chunks
        ],
    }
