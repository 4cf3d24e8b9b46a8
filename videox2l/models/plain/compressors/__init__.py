"""How a chunk's dense KVs become fewer. One file each, one registry."""

from __future__ import annotations

from videox2l.errors import ConfigError
from videox2l.models.plain.compressors import kvpress
from videox2l.models.plain.compressors.average import average
from videox2l.models.plain.compressors.chunk import Compressor, DenseChunk, Kept, Share, scored
from videox2l.models.plain.compressors.expected_attention import expected_attention
from videox2l.models.plain.compressors.key_norm import key_norm
from videox2l.models.plain.compressors.key_similarity import key_similarity
from videox2l.models.plain.compressors.proxy_attention import proxy_attention
from videox2l.models.plain.compressors.value_norm import value_norm

# Add one: a function of a DenseChunk in a file of its own, named here.
COMPRESSORS: dict[str, Compressor] = {
    "average": average,
    "key_norm": scored(key_norm),
    "key_similarity": scored(key_similarity),
    "value_norm": scored(value_norm),
    "proxy_attention": scored(proxy_attention),
    "expected_attention": scored(expected_attention),
}


def find_compressor(name: str) -> Compressor:
    """One of :data:`COMPRESSORS`, or a press of ``kvpress`` as ``kvpress:KnormPress``.

    :raises ConfigError: there is none, or ``kvpress`` is not installed.
    """
    if name.startswith(kvpress.PREFIX):
        return kvpress.compressor(name.removeprefix(kvpress.PREFIX))
    if name not in COMPRESSORS:
        raise ConfigError(f"no compressor {name!r}: there are {', '.join(COMPRESSORS)}, and {kvpress.PREFIX}PRESS")
    return COMPRESSORS[name]


__all__ = ["COMPRESSORS", "Compressor", "DenseChunk", "Kept", "Share", "find_compressor"]
