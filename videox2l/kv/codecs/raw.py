"""``raw``: the elements as they are, in C order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from videox2l.kv.chunk import KV
from videox2l.kv.codecs.buffers import tensor_field, to_bytes


class Raw:
    """Bit-exact, and read without a copy."""

    name = "raw"
    lossless = True

    def fields(self) -> tuple[str, ...]:
        return "keys", "values"

    def encode(self, kv: KV) -> dict[str, bytes | memoryview | np.ndarray]:
        return {"keys": to_bytes(kv.keys_LHTD), "values": to_bytes(kv.values_LHTD)}

    def decode(self, fields: Mapping[str, memoryview], shape: tuple[int, int, int, int], dtype: torch.dtype) -> KV:
        return KV(tensor_field(fields, "keys", shape, dtype), tensor_field(fields, "values", shape, dtype))
