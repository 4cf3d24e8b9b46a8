"""Threads that share a model's forwards get what each would get alone, up to rounding."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from tests.unit.models.test_together import COMPRESSION, ROUNDING, alone, assert_close, videos
from videox2l.errors import ModelError
from videox2l.kv import LEVELS, ChunkKV
from videox2l.models.video_xl.model import VideoXL
from videox2l.prefill.together import SharedForwards

LENGTHS = [[20, 20, 7], [12, 20], [20], [20, 20, 20, 20]]


class Counted:
    """A model, and how many chunks went through each of its forwards."""

    def __init__(self, model: VideoXL) -> None:
        self._model = model
        self.sizes: list[int] = []

    def __getattr__(self, name: str):
        return getattr(self._model, name)

    def append_together(self, prefills, visual_tokens, last) -> list[ChunkKV]:
        self.sizes.append(len(prefills))
        return self._model.append_together(prefills, visual_tokens, last)


def test_threads_get_what_each_would_get_alone(random_model: VideoXL) -> None:
    tokens = videos(*LENGTHS)
    expected = [alone(random_model, chunks, COMPRESSION) for chunks in tokens]
    counted = Counted(random_model)
    shared, together = SharedForwards(counted), Barrier(len(tokens))

    def prefill(chunks: list[torch.Tensor]) -> list[ChunkKV]:
        mine = shared.start_prefill(COMPRESSION)
        mine.expect(len(chunks), 20)
        together.wait()
        return [mine.append(chunk, last=chunk is chunks[-1]) for chunk in chunks]

    with ThreadPoolExecutor(len(tokens)) as threads:
        found = list(threads.map(prefill, tokens))
    for video, right in zip(found, expected, strict=True):
        for kvs, alone_kvs in zip(video, right, strict=True):
            for level in LEVELS:
                assert_close(kvs[level], alone_kvs[level], ROUNDING)
    assert sum(counted.sizes) == sum(map(len, LENGTHS))
    assert max(counted.sizes) > 1


def test_an_error_reaches_whoever_waits(random_model: VideoXL) -> None:
    [[chunk]] = videos([20])
    prefill = SharedForwards(random_model).start_prefill(COMPRESSION)
    prefill.append(chunk, last=True)
    with pytest.raises(ModelError, match="had its last chunk"):
        prefill.append(chunk, last=True)
