"""What questions in a batch have added behind their memories: rotated keys and values in buffers of equal size."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from videox2l.models import KVGeometry


@dataclass(frozen=True)
class TailSegment:
    """A tail, or several joined, that will not change any more: ``[L, H, n, D]``."""

    keys_LHTD: torch.Tensor
    values_LHTD: torch.Tensor

    @property
    def tokens(self) -> int:
        return self.keys_LHTD.shape[2]

    @property
    def nbytes(self) -> int:
        return self.keys_LHTD.nbytes + self.values_LHTD.nbytes

    def first(self, tokens: int) -> TailSegment:
        """Only the first ``tokens``; views, no copies."""
        return TailSegment(self.keys_LHTD[:, :, :tokens], self.values_LHTD[:, :, :tokens])

    def then(self, other: TailSegment) -> TailSegment:
        """Both, in one piece."""
        return TailSegment(
            torch.cat([self.keys_LHTD, other.keys_LHTD], dim=2), torch.cat([self.values_LHTD, other.values_LHTD], dim=2)
        )


class Tails:
    """``slots`` tails of up to ``capacity`` tokens, allocated once."""

    def __init__(self, geometry: KVGeometry, slots: int, capacity: int, device: torch.device) -> None:
        shape = (geometry.layers, slots, geometry.kv_heads, capacity, geometry.head_dim)
        dtype: torch.dtype = getattr(torch, geometry.dtype)
        # Zeros: what lies behind a tail's end is multiplied by a weight of 0, and must not be NaN.
        self._keys_LSHCD = torch.zeros(shape, dtype=dtype, device=device)
        self._values_LSHCD = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = [0] * slots
        self.capacity = capacity
        self.device = device

    def layer(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of all slots, ``[S, H, capacity, D]``."""
        return self._keys_LSHCD[layer], self._values_LSHCD[layer]

    def take(self, slot: int) -> TailSegment:
        """The tail in ``slot`` as a segment of its own; the slot is empty afterwards."""
        length, self.lengths[slot] = self.lengths[slot], 0
        keys_LHTD, values_LHTD = (
            buffer[:, slot, :, :length].clone() for buffer in (self._keys_LSHCD, self._values_LSHCD)
        )
        return TailSegment(keys_LHTD, values_LHTD)

    def swap(self, a: int, b: int) -> None:
        """Exchange two slots."""
        if a == b:
            return
        longest = max(self.lengths[a], self.lengths[b])
        for buffer in (self._keys_LSHCD, self._values_LSHCD):
            kept = buffer[:, a, :, :longest].clone()
            buffer[:, a, :, :longest] = buffer[:, b, :, :longest]
            buffer[:, b, :, :longest] = kept
        self.lengths[a], self.lengths[b] = self.lengths[b], self.lengths[a]
