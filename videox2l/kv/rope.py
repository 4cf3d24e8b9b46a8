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


def rotate_into(target_XTD: torch.Tensor, states_XTD: torch.Tensor, tables: RopeTables) -> None:
    """As :func:`rotate`, written into ``target_XTD`` without a second buffer of the full size for the result."""
    cos_TD, sin_TD = tables
    half = states_XTD.shape[-1] // 2
    first, second = states_XTD[..., :half], states_XTD[..., half:]
    torch.mul(states_XTD, cos_TD, out=target_XTD)
    target_XTD[..., :half] -= second * sin_TD[..., :half]
    target_XTD[..., half:] += first * sin_TD[..., half:]
