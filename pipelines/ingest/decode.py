"""A video's chunks in order, decoded in other processes a little ahead of whoever consumes them.

The chunks are cut into segments. Each is a task that streams its chunks back one by one; a few run at a time. A Ray
Data dataset inside the consumer would do the same with its own statistics, but starting one takes 0.4 s, which short
clips feel (12 clips of 6 chunks: 5.2 s against 4.1 s, a video of 60 chunks: 4.3 s against 3.4 s), and it does not say
which video's task was killed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import TracebackType

import numpy as np
import ray
from ray import ObjectRefGenerator

from pipelines.ingest.isolation import (
    DecoderCrashedError,
    DecoderLostError,
    DecoderTimeoutError,
    Tries,
    results,
    start_isolated,
)
from pipelines.ingest.job import Decoder
from videox2l.video import Chunk, DecodedChunk, FrameFormat

# One segment is being consumed while two decode: decoding keeps up with a GPU at two CPUs each.
_SEGMENTS_AHEAD = 3

# A decoder uses more than one thread only in bursts.
_DECODE_CPUS = 1

# Opening the file and decoding up to the first wanted frame is paid once a segment: 5 % of a small clip's segments of 8
# chunks, 2 % of those of 32. The first one is short, because until it is through one process alone decodes for the
# prefill.
_FIRST_SEGMENT_CHUNKS = 8
_SEGMENT_CHUNKS = 32

# Bounds the decoded frames that wait in the object store to _SEGMENTS_AHEAD times this, however large a chunk is.
# (Ten 336 x 336 frames are 3.4 MB: 19 chunks a segment.)
_SEGMENT_BYTES = 64 * 2**20


# A worker has two videos at a time, and of the second one as much is decoded as takes a decoder through the last frames
# of the first: short clips would otherwise leave it idle.
_SEGMENTS_OF_NEXT = 2


def bytes_in_flight(videos_per_actor: int) -> int:
    """The most that decoded frames wait in the object store for one prefill worker."""
    return (videos_per_actor * _SEGMENTS_AHEAD + _SEGMENTS_OF_NEXT) * _SEGMENT_BYTES


class DecodeStream:
    """Iterate to get the :class:`DecodedChunk` s of ``chunks``, once. A context manager: leaving it ends all decoding.

    Entering begins to decode the first segment, so that its frames are there when the consumer's turn comes. A process
    that is lost is replaced by one that goes on with the chunk that is due. ``waited_s`` is the time in seconds that
    the consumer has spent waiting for frames.

    :raises VideoError: what ``decoder`` raised, or :class:`DecoderCrashedError` or :class:`DecoderTimeoutError`.
    :raises DecoderLostError: the cluster keeps losing machines.
    """

    def __init__(
        self, source: str, chunks: Sequence[Chunk], fmt: FrameFormat, *, decoder: Decoder, timeout_s: float
    ) -> None:
        self._source = source
        self._format = fmt
        self._decoder = decoder
        self._timeout_s = timeout_s
        self._segments = deque(cut_segments(chunks, fmt))
        self._running: deque[tuple[Sequence[Chunk], ObjectRefGenerator]] = deque()
        self._tries = Tries()
        self.waited_s = 0.0

    def __enter__(self) -> DecodeStream:
        self._decode_ahead(_SEGMENTS_OF_NEXT)
        return self

    def __iter__(self) -> Iterator[DecodedChunk]:
        self._decode_ahead(_SEGMENTS_AHEAD)
        while self._running:
            yield from self._segment()
            self._running.popleft()
            self._decode_ahead(_SEGMENTS_AHEAD)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, task in self._running:
            ray.cancel(task)
        self._running.clear()

    def _decode_ahead(self, segments: int) -> None:
        while self._segments and len(self._running) < segments:
            segment = self._segments.popleft()
            self._running.append((segment, self._start(segment)))

    def _start(self, chunks: Sequence[Chunk]) -> ObjectRefGenerator:
        return start_isolated("decode", _DECODE_CPUS, self._decoder, self._source, chunks, self._format)

    def _segment(self) -> Iterator[DecodedChunk]:
        """The chunks of the first segment that is running, from as many processes as it takes."""
        due, task = self._running[0]
        while True:
            try:
                for item in self._results(task):
                    due = due[1:]
                    yield item
                return
            except (DecoderCrashedError, DecoderTimeoutError, DecoderLostError) as error:
                if not due:
                    return  # it was lost behind its last chunk
                self._tries.again(error, due[0].index)
                task = self._start(due)
                self._running[0] = (due, task)

    def _results(self, segment: ObjectRefGenerator) -> Iterator[DecodedChunk]:
        began = time.perf_counter()
        for item in results(segment, self._source, self._timeout_s):
            # What the object store hands out is read-only, and takes its room there for as long as it is used.
            frames_FHWC = np.array(item.frames_FHWC)
            self.waited_s += time.perf_counter() - began
            yield DecodedChunk(item.chunk, frames_FHWC)
            began = time.perf_counter()
        self.waited_s += time.perf_counter() - began


def cut_segments(chunks: Sequence[Chunk], fmt: FrameFormat) -> list[Sequence[Chunk]]:
    """Cut ``chunks`` into contiguous segments of bounded number and bytes, at least one chunk each."""
    largest = max((len(chunk.pts) for chunk in chunks), default=1) * fmt.height * fmt.width * 3
    most = max(1, _SEGMENT_BYTES // largest)
    first, size = min(_FIRST_SEGMENT_CHUNKS, most), min(_SEGMENT_CHUNKS, most)
    bounds = [0, *range(first, len(chunks), size), len(chunks)]
    return [chunks[start:end] for start, end in pairwise(bounds) if start < end]
