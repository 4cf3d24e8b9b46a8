"""Rotary position embedding in its rotate-half form (RoFormer, arXiv 2104.09864; Qwen2's convention).

Keys are archived before rotation, because their positions depend on what is re-loaded around them; they are rotated
once, when a memory is put together.
"""

from __future__ import annotations

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
