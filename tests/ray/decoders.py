"""Decoders with a will of their own, for the ingest. They run in processes that import no torch; nor does this."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence

import ray

from videox2l.errors import TruncatedVideoError
from videox2l.video import Chunk, DecodedChunk, FrameFormat, decode_chunks


def counting(source: str, chunks: Sequence[Chunk], fmt: FrameFormat) -> Iterator[DecodedChunk]:
    """Tells the actor named ``decoded`` of every chunk."""
    counter = ray.get_actor("decoded")
    for item in decode_chunks(source, chunks, fmt):
        ray.get(counter.add.remote(1))
        yield item


def lacking(source: str, chunks: Sequence[Chunk], fmt: FrameFormat) -> Iterator[DecodedChunk]:
    """Raises at chunk 10."""
    for item in decode_chunks(source, chunks, fmt):
        if item.chunk.index == 10:
            raise TruncatedVideoError(f"{source} lacks chunk 10")
        yield item


def hanging(source: str, chunks: Sequence[Chunk], fmt: FrameFormat) -> Iterator[DecodedChunk]:
    """Never gets to chunk 4, and takes long enough over the others that they come one by one."""
    for item in decode_chunks(source, chunks, fmt):
        time.sleep(0.06)
        if item.chunk.index == 4:
            time.sleep(600)
        yield item


def killed_by_some(source: str, chunks: Sequence[Chunk], fmt: FrameFormat) -> Iterator[DecodedChunk]:
    """Sound, but chunk 4 of ``kills.mp4`` takes the process down."""
    for item in decode_chunks(source, chunks, fmt):
        if item.chunk.index == 4 and source.endswith("kills.mp4"):
            os.kill(os.getpid(), signal.SIGKILL)
        yield item


def slow(source: str, chunks: Sequence[Chunk], fmt: FrameFormat) -> Iterator[DecodedChunk]:
    """Leaves time to interfere: 0.2 s a chunk."""
    for item in decode_chunks(source, chunks, fmt):
        time.sleep(0.2)
        yield item
