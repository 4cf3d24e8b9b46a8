"""The same clip compressed at every ratio that some method needs: what methods are compared on."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from videox2l.config import CompressionConfig
from videox2l.evaluation.suites.footage import ComposedClip
from videox2l.kv import KV, MixedKV, mix, reload
from videox2l.models import KVCompressibleModel
from videox2l.models.retriever import OWN, load_retriever
from videox2l.selection import Retrieved
from videox2l.video.synthetic import SECONDS_PER_SCENE, SyntheticClip

EVEN_RATIOS = (2, 4, 8, 16, 32)
"""Ratios at which a whole clip may be compressed: those that the bundled model was trained with."""

_SIDE_BY_SIDE = 8  # clips prefilled together; more gain little and hold more memory


@dataclass(frozen=True)
class PrefilledClip:
    """KVs before RoPE of one clip, one a chunk: at both levels, and ``even``, all at one ratio.

    ``budget``: memory tokens, the prompt's not counted, that bi-level re-loading reads: everything high, and the low
    ones of the chunks that may be re-loaded. ``even`` has at least as many. ``retrieved``: what the model's own
    embeddings make of the chunks.
    """

    model: KVCompressibleModel
    content: SyntheticClip
    prompt: KV
    low: list[KV]
    high: list[KV]
    even: list[KV]
    budget: int
    retrieved: Retrieved | None = None

    @property
    def chunks(self) -> int:
        return len(self.high)

    def memory(self, parts: Sequence[KV]) -> MixedKV:
        """The prompt and these KVs at positions that follow one another."""
        with torch.inference_mode():
            return mix(self.prompt, parts, partial(self.model.rope_tables, 0))

    def reloaded(self, chunks: Collection[int]) -> MixedKV:
        """The gist with these chunks in detail."""
        return self.memory(reload(self.high, {chunk: self.low[chunk] for chunk in chunks}))


def tokens_of(parts: Sequence[KV]) -> int:
    """Memory tokens of these chunks, the prompt not among them."""
    return sum(part.tokens for part in parts)


def prefill_clips(
    model: KVCompressibleModel, clips: Sequence[ComposedClip], compression: CompressionConfig, k: int
) -> Iterator[PrefilledClip]:
    """Compress clips of equal length at both levels, and evenly at a ratio that reads as much as ``k`` chunks do."""
    retriever = load_retriever(OWN, model)
    frames = np.empty((compression.frames_per_chunk, 0))  # looked at by other retrievers only
    for start in range(0, len(clips), _SIDE_BY_SIDE):
        group = clips[start : start + _SIDE_BY_SIDE]
        prompt, low, high = levels(model, group, compression)
        budget = tokens_of(high[0]) + k * max(kv.tokens for kv in low[0])
        ratio = even_ratio(len(group[0].takes[0].visual_TN), len(high[0]), budget)
        _, even, _ = levels(model, group, CompressionConfig(ratio, ratio, SECONDS_PER_SCENE, "level"))
        for index, clip in enumerate(group):
            vectors = [retriever.of_chunk(frames, take.visual_TN) for take in clip.takes]
            retrieved = Retrieved(retriever.identity, lambda vectors=vectors: vectors)  # type: ignore[misc]
            yield PrefilledClip(model, clip.content, prompt, low[index], high[index], even[index], budget, retrieved)


def even_ratio(raw_tokens: int, chunks: int, budget: int) -> int:
    """The strongest ratio for all ``chunks`` of ``raw_tokens`` each that still keeps ``budget`` tokens or more.

    So it never has fewer than the method it is compared with. Where none keeps as many, the weakest.
    """
    fitting = [ratio for ratio in EVEN_RATIOS if chunks * math.ceil(raw_tokens / ratio) >= budget]
    return max(fitting, default=min(EVEN_RATIOS))


def levels(
    model: KVCompressibleModel, clips: Sequence[ComposedClip], compression: CompressionConfig
) -> tuple[KV, list[list[KV]], list[list[KV]]]:
    """The prompt, and low and high KVs: one list a clip, one KV a chunk."""
    prefills = [model.start_prefill(compression, timeline=clip.timeline) for clip in clips]
    low: list[list[KV]] = [[] for _ in clips]
    high: list[list[KV]] = [[] for _ in clips]
    last = len(clips[0].takes) - 1
    for chunk in range(last + 1):
        visual = [clip.takes[chunk].visual_TN for clip in clips]
        found = model.append_together(prefills, visual, [chunk == last] * len(clips))
        for index, kvs in enumerate(found):
            low[index].append(kvs["low"])
            high[index].append(kvs["high"])
    return prefills[0].prompt, low, high
