"""Selective KV re-loading: the memory of one question, low KVs for the chosen chunks and high KVs for the rest.

``KV = cat(prompt, for c in time order: low[c] if c in S else high[c])`` (arXiv 2506.21184). Low *replaces* high. The
result is an ordinary KV cache at positions 0 … n-1; nothing of the two-level scheme is left in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from videox2l.kv.chunk import KV
from videox2l.kv.rope import RopeTables, rotate_into


@dataclass(frozen=True)
class MixedKV:
    """A question's memory: rotated keys and values, ``[L, H, n, D]``, and where each chunk lies in it.

    ``chunk_slices[c]`` are the token positions of chunk ``c``; ``prompt_tokens`` come before the first.
    """

    keys_LHTD: torch.Tensor
    values_LHTD: torch.Tensor
    prompt_tokens: int
    chunk_slices: tuple[slice, ...]

    @property
    def tokens(self) -> int:
        return self.keys_LHTD.shape[2]

    @property
    def nbytes(self) -> int:
        return self.keys_LHTD.nbytes + self.values_LHTD.nbytes


def reload(high: Sequence[KV], low: Mapping[int, KV]) -> list[KV]:
    """One KV a chunk, in time order: its low KVs where given, else its high ones.

    Raises ``IndexError`` for low KVs of a chunk that the video does not have.
    """
    unknown = sorted(index for index in low if not 0 <= index < len(high))
    if unknown:
        raise IndexError(f"chunks {unknown} do not exist: the video has {len(high)}")
    return [low.get(index, kv) for index, kv in enumerate(high)]


def mix(prompt: KV, chunks: Sequence[KV], rope_tables: Callable[[int, torch.dtype], RopeTables]) -> MixedKV:
    """Assemble prompt and chunks in one preallocated buffer and rotate the keys once.

    ``chunks`` holds one KV a chunk in time order (see :func:`reload`); ``rope_tables(n, dtype)`` gives the tables of
    positions 0 … n-1.
    """
    parts = [prompt, *chunks]
    total = sum(part.tokens for part in parts)
    layers, heads, _, dim = prompt.keys_LHTD.shape
    keys_LHTD = prompt.keys_LHTD.new_empty(layers, heads, total, dim)
    values_LHTD = prompt.values_LHTD.new_empty(layers, heads, total, dim)
    cos_TD, sin_TD = rope_tables(total, keys_LHTD.dtype)
    slices: list[slice] = []
    start = 0
    for part in parts:
        span = slice(start, start + part.tokens)
        rotate_into(keys_LHTD[:, :, span], part.keys_LHTD, (cos_TD[span], sin_TD[span]))
        values_LHTD[:, :, span] = part.values_LHTD
        slices.append(span)
        start = span.stop
    return MixedKV(keys_LHTD, values_LHTD, prompt.tokens, tuple(slices[1:]))
