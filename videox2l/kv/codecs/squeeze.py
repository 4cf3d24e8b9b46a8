"""``squeeze``: lossless, smaller than ``raw`` because exponents repeat themselves.

The byte that holds an element's sign and exponent takes few values and compresses well; the bytes below it are all but
noise. So both are kept apart, and channel by channel, whose tokens resemble each other more than one token's channels
do: of the bundled model's low keys in bfloat16 (384 tokens) the high plane shrinks to .23 of its size, token by token
to .27; of random keys in the shape of a 7B model's, each channel around a mean of its own, to .22 and .31. Differences
between neighbouring tokens compress worse than the elements themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch

from videox2l.kv.chunk import KV
from videox2l.kv.codecs.buffers import CodecError, adopt, field, integers

LEVEL = 1
"""zstd's. On the bundled model's KVs level 3 saves nothing over it and takes longer."""

MAX_RATIO = 256
"""A reader trusts no buffer to hold more than this many times its length. Planes of real KVs shrink to a quarter."""


class Squeeze:
    """Bit-exact. A tensor is two planes, both in [layers, KV heads, head dimension, tokens] order.

    ``<tensor>_high`` has the most significant byte of every element, ``<tensor>_low`` all their next bytes, then all
    those after, and so on. A plane is one zstd frame, or plain bytes where zstd gains nothing or more than
    ``MAX_RATIO``; its length tells which, since a frame is always shorter.
    """

    name = "squeeze"
    lossless = True

    def fields(self) -> tuple[str, ...]:
        return "keys_high", "keys_low", "values_high", "values_low"

    def encode(self, kv: KV) -> dict[str, bytes | memoryview | np.ndarray]:
        found: dict[str, bytes | memoryview | np.ndarray] = {}
        for name, tensor_LHTD in (("keys", kv.keys_LHTD), ("values", kv.values_LHTD)):
            planes = _split(integers(tensor_LHTD.mT))
            found[f"{name}_high"], found[f"{name}_low"] = (self._compress(part) for part in (planes[:1], planes[1:]))
        return found

    def decode(self, fields: Mapping[str, memoryview], shape: tuple[int, int, int, int], dtype: torch.dtype) -> KV:
        layers, heads, tokens, dim = shape
        count = math.prod(shape)
        tensors = []
        for name in ("keys", "values"):
            high = self._decompress(fields, f"{name}_high", count)
            low = self._decompress(fields, f"{name}_low", count * (dtype.itemsize - 1))
            joined = adopt(_join([high, *low.reshape(dtype.itemsize - 1, count)]))
            tensor_LHTD = joined.view(dtype).reshape(layers, heads, dim, tokens).mT
            tensors.append(tensor_LHTD.clone(memory_format=torch.contiguous_format))
        return KV(*tensors)

    @staticmethod
    def _compress(plane: np.ndarray) -> np.ndarray:
        plain = plane.reshape(-1)
        compressed = np.frombuffer(_zstd().compress(plain), np.uint8)
        return compressed if compressed.size < plain.size <= compressed.size * MAX_RATIO else plain

    @staticmethod
    def _decompress(fields: Mapping[str, memoryview], name: str, length: int) -> np.ndarray:
        stored = field(fields, name)
        if stored.size == length:
            return stored
        if not stored.size < length <= stored.size * MAX_RATIO:
            raise CodecError(f"{name} has {stored.size} bytes, which cannot hold the {length} of its shape and dtype")
        try:
            # zstd stops at this size, and a frame that holds less is refused.
            return np.frombuffer(_zstd().decompress(stored, length), np.uint8)
        except (OSError, pa.ArrowException) as error:
            raise CodecError(f"{name} does not decompress to {length} bytes ({error})") from error


def _zstd() -> pa.Codec:
    return pa.Codec("zstd", compression_level=LEVEL)


def _split(elements: np.ndarray) -> np.ndarray:
    """Bytes of equal significance together, the most significant first: ``uint8[itemsize, elements.size]``."""
    size = elements.itemsize
    stored = elements.reshape(-1).astype(f">u{size}", copy=False).view(np.uint8).reshape(-1, size)
    return np.stack([stored[:, byte] for byte in range(size)])


def _join(planes: Sequence[np.ndarray]) -> np.ndarray:
    """The reverse of :func:`_split`: flat native unsigned integers."""
    stored = np.empty((planes[0].size, len(planes)), np.uint8)
    for byte, plane in enumerate(planes):
        stored[:, byte] = plane
    return stored.view(f">u{len(planes)}").reshape(-1).astype(f"=u{len(planes)}", copy=False)
