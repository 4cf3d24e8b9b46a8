"""Videos as a catalog tells of them, without an archive: what planning sees."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from videox2l.store.catalog import CatalogRow
from videox2l.store.lookup import VideoEntry

OURS, OTHER = "f" * 32, "0" * 32
"""Fingerprints of the model that answers, and of another."""

LOW_BYTES, HIGH_BYTES, CHUNKS = 1000, 100, 10


def video(name: str, *models: str, **metadata: Any) -> VideoEntry:
    """A video of ``CHUNKS`` chunks with an index of each of ``models``, oldest first."""
    video_id = hashlib.sha256(name.encode()).hexdigest()[:32]
    rows = [_row(video_id, name, model, number, metadata) for number, model in enumerate(models or (OURS,))]
    return VideoEntry(video_id, tuple(rows))


def _row(video_id: str, name: str, model: str, number: int, metadata: dict[str, Any]) -> CatalogRow:
    return CatalogRow(
        video_id=video_id,
        index_fp=f"{number:032x}",
        name=name,
        source=f"/videos/{name}",
        size=1,
        sha256="",
        duration_s=100.0,
        chunks=CHUNKS,
        model_fingerprint=model,
        model="{}",
        sampling="{}",
        compression="{}",
        dtype="float32",
        low_codec="raw",
        high_codec="raw",
        low_tokens=100,
        low_bytes=LOW_BYTES,
        high_tokens=10,
        high_bytes=HIGH_BYTES,
        created=f"2026-01-0{number + 1}T00:00:00+00:00",
        recorded_at="",
        metadata=json.dumps(metadata),
        aliases="[]",
        retriever="",
    )
