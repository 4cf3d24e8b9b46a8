"""Rotary position embedding in its rotate-half form (RoFormer, arXiv 2104.09864; Qwen2's convention).

Keys are archived before rotation, because their positions depend on what is re-loaded around them; they are rotated
once, when a memory is put together.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

RopeTables = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines, each [T, D], of T consecutive positions."""


def rotate(states_XTD: torch.Tensor, tables: RopeTables) -> torch.Tensor:
    """Rotate ``[..., T, D]`` keys or queries to the positions of ``tables``. Any leading dimensions, any dtype."""
    cos_TD, sin_TD = tables
    first, second = states_XTD.chunk(2, dim=-1)
    return states_XTD * cos_TD + torch.cat((-second, first), dim=-1) * sin_TD


def rotate_in_place(states_LHTD: torch.Tensor, tables: RopeTables) -> None:
    """As :func:`rotate`, to the bit. Layer by layer: buffers of many MiB cost more to be had than to be computed."""
    cos_TD, sin_TD = tables
    half = states_LHTD.shape[-1] // 2
    for states_HTD in states_LHTD:
        first, second = states_HTD[..., :half], states_HTD[..., half:]
        rotated = first * cos_TD[..., :half]
        rotated -= second * sin_TD[..., :half]
        second *= cos_TD[..., half:]
        second += first * sin_TD[..., half:]
        first.copy_(rotated)


class KeptTables:
    """Tables of positions from 0 on, computed once: each memory of a video needs nearly the same ones.

    For rotations whose angles depend on the position alone. Safe to share between threads, at worst two compute the
    same. What is given out is shared and must not be written to.
    """

    def __init__(self, make: Callable[[int, torch.dtype], RopeTables]) -> None:
        """``make(count, dtype)``: tables of positions 0 … count-1."""
        self._make = make
        self._kept: dict[torch.dtype, RopeTables] = {}

    def first(self, count: int, dtype: torch.dtype) -> RopeTables:
        """Of positions 0 … count-1."""
        kept = self._kept.get(dtype)
        if kept is None or len(kept[0]) < count:
            # Half as much again: the next memory is a little longer, and another copy of all would not pay.
            with torch.inference_mode(False):  # kept for whoever asks next, who may be training
                kept = self._kept[dtype] = self._make(count + count // 2, dtype)
        cos_TD, sin_TD = kept
        return cos_TD[:count], sin_TD[:count]
