"""Decoders that leave time to interfere, and files that do harm to them. No torch: they run where only frames are."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

from videox2l.video import Chunk, DecodedChunk, FrameFormat, decode_chunks

CHUNK_S = 0.15
"""Longer than a chunk of the random model's prefill, so that no decoded chunks wait."""


def slow(source: str, chunks: Sequence[Chunk], fmt: FrameFormat) -> Iterator[DecodedChunk]:
    """As always, but not faster than one chunk every :data:`CHUNK_S` seconds."""
    for item in decode_chunks(source, chunks, fmt):
        time.sleep(CHUNK_S)
        yield item


def dragging(source: str, chunks: Sequence[Chunk], fmt: FrameFormat) -> Iterator[DecodedChunk]:
    """Slow up to chunk 8, and then so slow that a job which has lost its driver ends before the video does."""
    for item in slow(source, chunks, fmt):
        if item.chunk.index > 8:
            time.sleep(3)
        yield item


def harmed(source: str, chunks: Sequence[Chunk], fmt: FrameFormat) -> Iterator[DecodedChunk]:
    """Slow, too; chunk 4 of ``aborts.mp4`` ends the process in C code, that of ``hangs.mp4`` never comes.

    Nothing comes of ``deadly.mp4``, which leaves time to kill the process that waits for its first frames: from when
    its turn has come, however long before that they were asked for, to when it has waited too long twice.
    """
    if source.endswith("deadly.mp4"):
        time.sleep(3600)
    for item in slow(source, chunks, fmt):
        if item.chunk.index == 4 and source.endswith("aborts.mp4"):
            os.abort()
        if item.chunk.index == 4 and source.endswith("hangs.mp4"):
            time.sleep(3600)
        yield item
