"""Several videos on one model, each in a thread of its own, whose chunks go through the model in shared forwards.

Nobody waits for a full batch: while one forward runs, the chunks that become ready wait, and the next forward takes all
of them. So it helps where a forward is more than the sum of its parts (small chunks on a fast device) and costs nothing
where it is not.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import torch

from videox2l.config import CompressionConfig
from videox2l.kv import ChunkKV
from videox2l.models import KVCompressibleModel, Prefill, PrefillState, Timeline


class SharedForwards:
    """A model as :func:`~videox2l.prefill.prefill_chunks` uses one, for several threads at a time.

    KVs differ by rounding from those of a video alone, since sums over more rows are formed in another order, and with
    them by which chunks happened to meet.
    """

    def __init__(self, model: KVCompressibleModel) -> None:
        self._model = model
        self._device = threading.Lock()  # held during a forward
        self._lock = threading.Lock()
        self._waiting: list[_Chunk] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def start_prefill(
        self, compression: CompressionConfig, resume: PrefillState | None = None, timeline: Timeline | None = None
    ) -> _SharedPrefill:
        """As the model's own."""
        with self._device:
            return _SharedPrefill(self._model.start_prefill(compression, resume, timeline), self)

    def append(self, prefill: Prefill, visual_tokens_TN: torch.Tensor, last: bool) -> ChunkKV:
        """The next chunk of ``prefill``, together with those of other threads that are ready by then."""
        mine = _Chunk(prefill, visual_tokens_TN, last)
        with self._lock:
            self._waiting.append(mine)
        with self._device:
            with self._lock:
                ready, self._waiting = self._waiting, []
            if ready:  # else whoever was here before has taken mine along
                self._run(ready)
        return mine.kvs.result()

    def _run(self, chunks: list[_Chunk]) -> None:
        try:
            found = self._model.append_together(
                [chunk.prefill for chunk in chunks],
                [chunk.visual_tokens_TN for chunk in chunks],
                [chunk.last for chunk in chunks],
            )
        except BaseException as error:
            for chunk in chunks:
                chunk.kvs.set_exception(error)
            return
        for chunk, kvs in zip(chunks, found, strict=True):
            chunk.kvs.set_result(kvs)


@dataclass
class _Chunk:
    """On its way through the model."""

    prefill: Prefill
    visual_tokens_TN: torch.Tensor
    last: bool
    kvs: Future[ChunkKV] = field(default_factory=Future)


class _SharedPrefill:
    """A prefill whose chunks share their forwards with others."""

    def __init__(self, prefill: Prefill, forwards: SharedForwards) -> None:
        # Set past __setattr__, which hands on to the prefill, such as the hook that measures.
        object.__setattr__(self, "_prefill", prefill)
        object.__setattr__(self, "_forwards", forwards)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prefill, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._prefill, name, value)

    def append(self, visual_tokens_TN: torch.Tensor, *, last: bool) -> ChunkKV:
        """As the prefill's own."""
        return self._forwards.append(self._prefill, visual_tokens_TN, last)
