"""A decoder that notes how long it takes. On its own, because what it imports every decoding process has to import."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from videox2l.video import Chunk, DecodedChunk, FrameFormat, decode_chunks


def timed_decode(folder: Path, source: str, chunks: Sequence[Chunk], fmt: FrameFormat) -> Iterator[DecodedChunk]:
    """Decode, and leave the seconds it took in a file in ``folder``: no message from a worker would be as cheap."""
    seconds, began = 0.0, time.perf_counter()
    for decoded in decode_chunks(source, chunks, fmt, threads=1):
        seconds += time.perf_counter() - began
        yield decoded
        began = time.perf_counter()
    (folder / f"{os.getpid()}-{time.monotonic_ns()}.json").write_text(json.dumps(seconds))


def noted_s(folder: Path) -> float:
    """The sum of what was left in ``folder``."""
    return sum(json.loads(file.read_text()) for file in folder.iterdir())
