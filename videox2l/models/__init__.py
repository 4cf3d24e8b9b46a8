"""Models whose KV cache can be kept at two levels per chunk: one protocol, one registry."""

from videox2l.models.protocol import KVCompressibleModel, KVGeometry, ModelIdentity, Prefill, PrefillState, Timeline
from videox2l.models.registry import TINY, load_model
from videox2l.models.relevance import RelevanceHeads

__all__ = [
    "TINY",
    "KVCompressibleModel",
    "KVGeometry",
    "ModelIdentity",
    "Prefill",
    "PrefillState",
    "RelevanceHeads",
    "Timeline",
    "load_model",
]
