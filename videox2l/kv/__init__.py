"""The two levels of a chunk's KVs: pure tensor functions, no model, no storage."""

from videox2l.kv.chunk import KV, LEVELS, ChunkKV, Level, concatenate, lay_side_by_side
from videox2l.kv.mix import MixedKV, Mixer, mix, reload

__all__ = [
    "KV",
    "LEVELS",
    "ChunkKV",
    "Level",
    "MixedKV",
    "Mixer",
    "concatenate",
    "lay_side_by_side",
    "mix",
    "reload",
]
