"""Frames of training videos: decoded in processes of their own, ahead of need, and kept as far as there is room."""

from __future__ import annotations

import signal
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from videox2l.config import SamplingConfig
from videox2l.video import FrameFormat, Source, decode_chunks, plan_video
from videox2l.video.isolated import run_isolated

# A small list then is decoded once instead of once an epoch: some 3,000 frames of 336 x 336.
_KEPT_BYTES = 2**30


def decode_video(
    source: Source, sampling: SamplingConfig, frames_per_chunk: int, fmt: FrameFormat
) -> Iterator[np.ndarray]:
    """The sampled frames of a video, uint8 [F, H, W, 3] chunk after chunk.

    :raises VideoError: the file cannot be used.
    """
    plan = plan_video(source, sampling, frames_per_chunk)
    for decoded in decode_chunks(source, plan.chunks, fmt):
        yield decoded.frames_FHWC


def _without_interrupts() -> None:
    """Keep Ctrl-C from the processes that this thread starts: a decoder killed by it looks like a damaged video."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


class Frames:
    """Videos as lists of chunks. One decodes in the background while another is learned from."""

    def __init__(
        self, sampling: SamplingConfig, frames_per_chunk: int, fmt: FrameFormat, *, kept_bytes: int = _KEPT_BYTES
    ) -> None:
        self._how = (sampling, frames_per_chunk, fmt)
        self._kept_bytes = kept_bytes
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="frames", initializer=_without_interrupts)
        self._videos: OrderedDict[str, Future[list[np.ndarray]]] = OrderedDict()  # the longest unused first

    def prefetch(self, video: str) -> None:
        """Begin to decode ``video`` unless that has been done."""
        if video in self._videos:
            self._videos.move_to_end(video)
        else:
            self._videos[video] = self._pool.submit(self._decode, video)

    def get(self, video: str) -> list[np.ndarray]:
        """The video's chunks, uint8 [F, H, W, 3] each; the last may have fewer frames.

        :raises VideoError: the file cannot be used.
        """
        self.prefetch(video)
        try:
            chunks = self._videos[video].result()
        except BaseException:
            del self._videos[video]
            raise
        self._forget()
        return chunks

    def close(self) -> None:
        """Stop decoding; what is under way ends first."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _decode(self, video: str) -> list[np.ndarray]:
        return list(run_isolated(decode_video, video, *self._how))

    def _forget(self) -> None:
        done = [video for video, future in self._videos.items() if future.done() and future.exception() is None]
        sizes = {video: sum(chunk.nbytes for chunk in self._videos[video].result()) for video in done}
        excess = sum(sizes.values()) - self._kept_bytes
        for video in done[:-1]:
            if excess <= 0:
                return
            excess -= sizes[video]
            del self._videos[video]
