"""A decoder that logs and warns, as libraries do. It runs in processes that import no torch; nor does this."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence

from videox2l.video import Chunk, DecodedChunk, FrameFormat, decode_chunks


def talking(source: str, chunks: Sequence[Chunk], fmt: FrameFormat) -> Iterator[DecodedChunk]:
    """Says something about every chunk, in three voices."""
    for item in decode_chunks(source, chunks, fmt):
        logging.getLogger("videox2l.video").info("our chunk %d", item.chunk.index)
        logging.getLogger("some.library").warning("their chunk %d", item.chunk.index)
        logging.getLogger("some.library").info("chatter")
        # Python shows the same warning once a process, and both videos may be decoded by one.
        warnings.warn(f"python warns of {source} at chunk {item.chunk.index}", RuntimeWarning, stacklevel=2)
        yield item
