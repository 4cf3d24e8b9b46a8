"""Random memories, and questions over them: asked alone on the simple path, or as rows of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from videox2l.answering.batch import Row
from videox2l.answering.decode import generate
from videox2l.answering.sampling import Sampler
from videox2l.config import GenerationConfig
from videox2l.kv import KV, MixedKV, mix
from videox2l.models.cache import to_cache
from videox2l.models.video_xl.model import VideoXL

GREEDY = GenerationConfig(40)


def random_memory(model: VideoXL, tokens: int, seed: int = 0) -> MixedKV:
    geometry, generator = model.geometry, torch.Generator().manual_seed(seed)

    def part(count: int) -> KV:
        shape = (geometry.layers, geometry.kv_heads, count, geometry.head_dim)
        return KV(*(torch.randn(shape, generator=generator) for _ in range(2)))

    return mix(part(5), [part(tokens - 5)], lambda count, dtype: model.rope_tables(0, count, dtype))


def alone(model: VideoXL, memory: MixedKV, ids: Sequence[int], generation: GenerationConfig = GREEDY) -> list[int]:
    """Tokens of the simple path; none ends the answer."""
    return [pick.token for pick in generate(model.decoder, list(ids), to_cache(memory), generation, frozenset())]


def row(memory: MixedKV, ids: Sequence[int], generation: GenerationConfig = GREEDY) -> Row:
    return Row(ids, [memory], memory.tokens, Sampler(generation, torch.device("cpu")))


def questions(model: VideoXL, count: int) -> Iterator[list[int]]:
    """Of different lengths."""
    for number in range(count):
        yield model.question_ids(f"What about number {number}?" + " Why?" * (number % 5))
