"""``int8`` and ``int4``: few bits an element, between the smallest and the largest value of its channel.

Per channel for keys and values alike: some key channels of Qwen2.5 lie at several hundred while their neighbours stay
below ten, so that a scale shared across channels would erase the latter (transformers#35185; VidKV, arXiv 2503.16257).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch

from videox2l.kv.chunk import KV
from videox2l.kv.codecs.buffers import CodecError, adopt, field, tensor_field, to_bytes

GROUP_TOKENS = 64
"""Tokens that share a channel's minimum and maximum.

Measured in bfloat16 on the bundled model's low KVs, a clip's chunks taken as one (``int4``; mean change of the first
answer token's logits, whose standard deviation is 2.9): 16 tokens .12 at 2.7x smaller, 32 tokens .28 at 3.2x, 64 tokens
.29 at 3.6x, 128 tokens .37 at 3.8x, and the first codes lost. A high chunk of a 7B Video-XL, 45 tokens, is one group.
"""


class Quantised:
    """Codes of ``bits`` bits (4 or 8), evenly spaced from a group's minimum to its maximum.

    A group is one channel (of one layer and KV head) over ``GROUP_TOKENS`` tokens; the last group may be shorter. The
    error is at most half a step, (maximum - minimum) / (2**bits - 1) / 2, and the rounding of the dtype; a constant
    group is exact. ``<tensor>_minimum`` and ``<tensor>_maximum`` are [layers, KV heads, groups, head dimension] in the
    KV's own dtype, of which they are elements: nothing is rounded and nothing out of range, as a float16 scale may be.

    Codes are in the C order of the KV, one byte each. With 4 bits the first half of them (the larger half, if their
    number is odd) is in the low bits of the bytes and the second half in the high bits.
    """

    lossless = False

    def __init__(self, name: str, bits: int) -> None:
        self.name = name
        self._bits = bits
        self._steps = 2**bits - 1

    def fields(self) -> tuple[str, ...]:
        return tuple(f"{tensor}{part}" for tensor in ("keys", "values") for part in ("", "_minimum", "_maximum"))

    def encode(self, kv: KV) -> dict[str, bytes | memoryview | np.ndarray]:
        return self._quantise("keys", kv.keys_LHTD) | self._quantise("values", kv.values_LHTD)

    def decode(self, fields: Mapping[str, memoryview], shape: tuple[int, int, int, int], dtype: torch.dtype) -> KV:
        return KV(*(self._restore(fields, name, shape, dtype) for name in ("keys", "values")))

    def _quantise(self, name: str, tensor: torch.Tensor) -> dict[str, bytes | memoryview | np.ndarray]:
        tensor_LHTD = tensor.detach().cpu()
        layers, heads, tokens, dim = tensor_LHTD.shape
        minimum_LHGD = tensor_LHTD.new_empty(layers, heads, math.ceil(tokens / GROUP_TOKENS), dim)
        maximum_LHGD = torch.empty_like(minimum_LHGD)
        codes_LHTD = torch.empty(tensor_LHTD.shape, dtype=torch.uint8)
        for group, span in enumerate(_groups(tokens)):
            part_LHTD = tensor_LHTD[:, :, span]
            minimum_LHGD[:, :, group], maximum_LHGD[:, :, group] = part_LHTD.aminmax(dim=2)
            low, high = (bound[:, :, group, None].float() for bound in (minimum_LHGD, maximum_LHGD))
            if not _is_range(low, high):
                raise ValueError(f"{name} holds values that are not finite or too far apart: they cannot be quantised")
            width = torch.where(high > low, high - low, 1.0)
            places_LHTD = (part_LHTD.float() - low).div_(width)  # from 0 at the minimum to 1 at the maximum
            codes_LHTD[:, :, span] = places_LHTD.mul_(self._steps).round_()
        return {
            name: self._pack(codes_LHTD.reshape(-1)).numpy(),
            f"{name}_minimum": to_bytes(minimum_LHGD),
            f"{name}_maximum": to_bytes(maximum_LHGD),
        }

    def _restore(
        self, fields: Mapping[str, memoryview], name: str, shape: tuple[int, int, int, int], dtype: torch.dtype
    ) -> torch.Tensor:
        layers, heads, tokens, dim = shape
        bounds_shape = (layers, heads, math.ceil(tokens / GROUP_TOKENS), dim)
        minimum_LHGD = tensor_field(fields, f"{name}_minimum", bounds_shape, dtype)
        maximum_LHGD = tensor_field(fields, f"{name}_maximum", bounds_shape, dtype)
        if not _is_range(minimum_LHGD.float(), maximum_LHGD.float()):
            raise CodecError(f"{name}_minimum and {name}_maximum are not the ends of finite ranges")
        count = math.prod(shape)
        packed = adopt(field(fields, name, math.ceil(count * self._bits / 8)))
        codes_LHTD = self._unpack(packed, count).reshape(shape)
        tensor_LHTD = torch.empty(shape, dtype=dtype)
        for group, span in enumerate(_groups(tokens)):
            low, high = (bound[:, :, group, None].float() for bound in (minimum_LHGD, maximum_LHGD))
            # Linear interpolation meets both ends exactly.
            tensor_LHTD[:, :, span] = torch.lerp(low, high, codes_LHTD[:, :, span].float().div_(self._steps))
        return tensor_LHTD

    def _pack(self, codes: torch.Tensor) -> torch.Tensor:
        if self._bits == 8:
            return codes
        half = math.ceil(len(codes) / 2)
        packed = codes[:half].clone()
        packed[: len(codes) - half] |= codes[half:] << 4
        return packed

    def _unpack(self, packed: torch.Tensor, count: int) -> torch.Tensor:
        if self._bits == 8:
            return packed
        codes = torch.empty(count, dtype=torch.uint8)
        half = len(packed)
        torch.bitwise_and(packed, 15, out=codes[:half])
        torch.bitwise_right_shift(packed[: count - half], 4, out=codes[half:])
        return codes


def _groups(tokens: int) -> Iterator[slice]:
    return (slice(start, start + GROUP_TOKENS) for start in range(0, tokens, GROUP_TOKENS))


def _is_range(low: torch.Tensor, high: torch.Tensor) -> bool:
    """Whether ``low`` … ``high`` are finite ranges of finite width; NaN fails the first comparison."""
    return bool(((low <= high) & (high - low).isfinite()).all())
