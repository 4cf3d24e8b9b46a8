"""Hand a mixed memory to a stock transformers model."""

from __future__ import annotations

from transformers import DynamicCache

from videox2l.kv import MixedKV


def to_cache(memory: MixedKV) -> DynamicCache:
    """An ordinary KV cache that starts with ``memory``. It grows on its own: ``memory`` itself is never written to."""
    cache = DynamicCache()
    for layer, (keys_HTD, values_HTD) in enumerate(zip(memory.keys_LHTD, memory.values_LHTD, strict=True)):
        cache.update(keys_HTD[None], values_HTD[None], layer)
    return cache
