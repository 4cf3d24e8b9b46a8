"""The same clip compressed at every ratio that some method reads: what methods are compared on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from videox2l.config import CompressionConfig, EdgeRatio
from videox2l.evaluation.suites.footage import ComposedClip
from videox2l.kv import KV, MixedKV, mix, reload
from videox2l.models import KVCompressibleModel
from videox2l.video.synthetic import SECONDS_PER_SCENE, SyntheticClip

UNIFORM_RATIOS = (2, 4, 8, 16, 32)
"""Ratios at which a whole clip may be compressed: those that the bundled model was trained with."""

_SIDE_BY_SIDE = 8  # clips prefilled together; more gain little and hold more memory


@dataclass(frozen=True)
class PrefilledClip:
    """KVs before RoPE of one clip, one a chunk: at both levels, and in ``whole`` at every uniform ratio."""

    model: KVCompressibleModel
    content: SyntheticClip
    prompt: KV
    low: list[KV]
    high: list[KV]
    whole: dict[int, list[KV]]

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
    model: KVCompressibleModel, clips: Sequence[ComposedClip], *, low_ratio: int, high_ratio: int, edge: EdgeRatio
) -> Iterator[PrefilledClip]:
    """Compress each clip at both levels with ``edge`` as its ends' ratio, and at the uniform ratios throughout."""
    for start in range(0, len(clips), _SIDE_BY_SIDE):
        group = clips[start : start + _SIDE_BY_SIDE]
        config = CompressionConfig(low_ratio, high_ratio, SECONDS_PER_SCENE, edge)
        prompt, levels = _levels(model, group, config)
        whole: dict[int, list[list[KV]]] = {}
        for fine, coarse in ((2, 4), (8, 16), (32, 32)):
            even = CompressionConfig(fine, coarse, SECONDS_PER_SCENE, "level")
            _, (whole[fine], whole[coarse]) = _levels(model, group, even)
        for index, clip in enumerate(group):
            own = {ratio: kvs[index] for ratio, kvs in whole.items()}
            yield PrefilledClip(model, clip.content, prompt, levels[0][index], levels[1][index], own)


def _levels(
    model: KVCompressibleModel, clips: Sequence[ComposedClip], config: CompressionConfig
) -> tuple[KV, tuple[list[list[KV]], list[list[KV]]]]:
    """Low and high KVs: one list a clip, one KV a chunk."""
    prefills = [model.start_prefill(config) for _ in clips]
    low: list[list[KV]] = [[] for _ in clips]
    high: list[list[KV]] = [[] for _ in clips]
    last = len(clips[0].takes) - 1
    for chunk in range(last + 1):
        visual = [clip.takes[chunk].visual_TN for clip in clips]
        found = model.append_together(prefills, visual, [chunk == last] * len(clips))
        for index, kvs in enumerate(found):
            low[index].append(kvs["low"])
            high[index].append(kvs["high"])
    return prefills[0].prompt, (low, high)
