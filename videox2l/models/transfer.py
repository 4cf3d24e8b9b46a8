"""Copies between host and device that computing does not wait for.

On CUDA frames go up, and KVs come down, through pinned memory; KVs on a stream of their own, so that one chunk's copy
runs while the next chunk is computed. On other devices nothing is copied and nothing is late. Where this was written
there was no GPU: the CUDA branches follow PyTorch's documentation, and their tests run where there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch

from videox2l.kv import KV, LEVELS, ChunkKV

T = TypeVar("T")


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """``tensor`` on ``device``; to a GPU without waiting for the copy, whose pinned source PyTorch keeps until then."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True)
class HostCopy:
    """A chunk's KVs on their way to the host; ``started`` and ``done`` are ``None`` where there was nothing to copy."""

    kvs: ChunkKV
    started: torch.cuda.Event | None = None
    done: torch.cuda.Event | None = None

    def result(self) -> ChunkKV:
        """Wait for this copy, and for nothing that was submitted after it."""
        if self.done is not None:
            self.done.synchronize()
        return self.kvs

    @property
    def seconds(self) -> float:
        """How long the copy took; to be asked after :meth:`result`."""
        if self.started is None or self.done is None:
            return 0.0
        return self.started.elapsed_time(self.done) / 1000


class HostCopies:
    """Brings chunks' KVs from one device to the host, in order."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def start(self, kvs: ChunkKV) -> HostCopy:
        """Begin to copy what the current stream will have computed by then."""
        if self._stream is None:
            return HostCopy(kvs)
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            started = self._stream.record_event(torch.cuda.Event(enable_timing=True))
            on_host = {
                level: KV(
                    _copy(kvs[level].keys_LHTD, self._stream),
                    _copy(kvs[level].values_LHTD, self._stream),
                    next_position=kvs[level].next_position,
                )
                for level in LEVELS
            }
            done = self._stream.record_event(torch.cuda.Event(enable_timing=True))
        return HostCopy(on_host, started, done)

    def each(self, computed: Iterable[tuple[T, ChunkKV]]) -> Iterator[tuple[T, HostCopy]]:
        """One arrived copy for each of ``computed``, with the label that came with it, in order.

        On a GPU each comes after the next chunk's work has been submitted, so that the caller works on one chunk while
        the GPU computes the next; on other devices at once.
        """
        waiting: tuple[T, HostCopy] | None = None
        for label, kvs in computed:
            coming = label, self.start(kvs)
            if self._stream is None:
                yield coming
                continue
            if waiting is not None:
                waiting[1].result()
                yield waiting
            waiting = coming
        if waiting is not None:
            waiting[1].result()
            yield waiting


def _copy(tensor: torch.Tensor, stream: torch.cuda.Stream) -> torch.Tensor:
    # Pinned blocks are used again once their tensor is gone, so a steady prefill allocates only at its beginning.
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    tensor.record_stream(stream)
    return host
