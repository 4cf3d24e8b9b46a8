"""Models whose KV cache can be kept at two levels per chunk: one protocol, one registry."""

from videox2l.models.protocol import KVCompressibleModel, KVGeometry, ModelIdentity, Prefill
from videox2l.models.registry import TINY, load_model

__all__ = ["TINY", "KVCompressibleModel", "KVGeometry", "ModelIdentity", "Prefill", "load_model"]
