"""KVs for tests of codecs, and the bits that comparisons look at."""

from __future__ import annotations

import torch

from videox2l.kv import KV
from videox2l.kv.codecs import Codec

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
Shape = tuple[int, int, int, int]


def like_a_model(shape: Shape, dtype: torch.dtype, seed: int = 0) -> KV:
    """Finite KVs whose channels differ in size and place, as a model's do: one lies at several hundred."""
    generator = torch.Generator().manual_seed(seed)
    size_LHD = torch.randn(shape[0], shape[1], 1, shape[3], generator=generator).exp()
    place_LHD = torch.randn(shape[0], shape[1], 1, shape[3], generator=generator) * 3
    place_LHD[..., :1] = 400.0
    return KV(*((torch.randn(shape, generator=generator) * size_LHD + place_LHD).to(dtype) for _ in range(2)))


def any_bits(shape: Shape, dtype: torch.dtype, seed: int = 0) -> KV:
    """Every bit random: NaNs with payloads, infinities, subnormal numbers and negative zeros among them."""
    generator = torch.Generator().manual_seed(seed)
    size = (*shape[:3], shape[3] * dtype.itemsize)
    drawn = (torch.randint(256, size, dtype=torch.uint8, generator=generator).view(dtype) for _ in range(2))
    return KV(*(tensor.reshape(shape) for tensor in drawn))


def bits(kv: KV) -> tuple[bytes, bytes]:
    """Keys and values as they lie in memory."""
    keys, values = (t.contiguous().view(torch.uint8).numpy().tobytes() for t in (kv.keys_LHTD, kv.values_LHTD))
    return keys, values


def stored(codec: Codec, kv: KV) -> dict[str, memoryview]:
    """Encoded, and as a reader gets it: read-only memory of the right names, in order."""
    encoded = codec.encode(kv)
    assert tuple(encoded) == codec.fields()
    return {name: memoryview(bytes(memoryview(buffer))) for name, buffer in encoded.items()}


def shape_of(kv: KV) -> Shape:
    layers, heads, tokens, dim = kv.keys_LHTD.shape
    return layers, heads, tokens, dim
