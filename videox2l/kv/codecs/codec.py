"""What a codec is, and all there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from videox2l.kv.chunk import KV
from videox2l.kv.codecs.buffers import CodecError
from videox2l.kv.codecs.quantised import Quantised
from videox2l.kv.codecs.raw import Raw
from videox2l.kv.codecs.squeeze import Squeeze

__all__ = ["CODECS", "Codec", "CodecError", "codec"]


class Codec(Protocol):
    """Turns KVs of bfloat16, float16 or float32 into named byte buffers and back. Stateless and safe to share.

    All numbers in the buffers are little endian. The buffers say nothing of shape and dtype: who stores them keeps
    those, and vouches for them before :meth:`decode` allocates.
    """

    name: str
    """What manifests say."""
    lossless: bool
    """Whether decoding gives back every bit, NaNs and the sign of zero included."""

    def fields(self) -> tuple[str, ...]:
        """The names of the buffers, in their order."""

    def encode(self, kv: KV) -> dict[str, bytes | memoryview | np.ndarray]:
        """One C-contiguous byte buffer a field, of a KV on any device, with any strides. May view its memory.

        :raises ValueError: the dtype is unknown or, where not lossless, a value is not finite.
        """

    def decode(self, fields: Mapping[str, memoryview], shape: tuple[int, int, int, int], dtype: torch.dtype) -> KV:
        """The KV of which :meth:`encode` made ``fields``, on the CPU. May view their memory: treat it as read-only.

        ``shape`` is [layers, KV heads, tokens, head dimension] of keys and of values. It bounds what is allocated,
        whatever the buffers hold: the result and, while it is made, at most four times as much again.

        :raises CodecError: the buffers do not fit ``shape`` and ``dtype``.
        """


# Add a codec: one file beside this one, one line here.
CODECS: Mapping[str, Codec] = {
    found.name: found for found in (Raw(), Quantised("int8", 8), Quantised("int4", 4), Squeeze())
}


def codec(name: str) -> Codec:
    """The codec that manifests call ``name``.

    :raises ValueError: there is none; the message lists the names there are.
    """
    if name not in CODECS:
        raise ValueError(f"codec must be one of {', '.join(CODECS)}, got {name!r}")
    return CODECS[name]
