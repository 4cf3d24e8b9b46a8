"""One video's index as questions need it: high KVs loaded once and kept, low KVs fetched chunk by chunk."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

import torch

from videox2l.errors import FingerprintMismatchError
from videox2l.identity import describe_difference
from videox2l.kv import KV, Level
from videox2l.models import KVCompressibleModel
from videox2l.store import IndexReader, LowRead


class ResidentVideo:
    """A video of the archive beside the model that answers about it. Safe to share between threads."""

    def __init__(self, model: KVCompressibleModel, reader: IndexReader) -> None:
        """Raises :class:`FingerprintMismatchError` when the index was made by another model."""
        manifest = reader.manifest
        if manifest.spec.model_fingerprint != model.identity.fingerprint:
            difference = describe_difference(dict(manifest.spec.model), model.identity.document)
            raise FingerprintMismatchError(
                f"{manifest.video.name} was ingested with another model than {model.name!r}:\n{difference}\n"
                "Load that model, or ingest the video again with this one."
            )
        self._reader = reader
        self._device: torch.device = model.decoder.device
        self._lock = threading.Lock()
        self._prompt: KV | None = None
        self._high: dict[int, KV] = {}
        self.manifest = manifest

    @property
    def chunks(self) -> int:
        return len(self.manifest.chunks)

    def prompt(self, bytes_read: dict[str, int]) -> KV:
        """The prompt's KVs; ``bytes_read["prompt"]`` grows by what had to be fetched."""
        with self._lock:
            if self._prompt is None:
                self._prompt = self._reader.prompt().to(device=self._device)
                bytes_read["prompt"] += self.manifest.prompt.length
            return self._prompt

    def high(self, chunks: Sequence[int], bytes_read: dict[str, int]) -> list[KV]:
        """High KVs of ``chunks``, in their order; ``bytes_read["high"]`` grows by what had to be fetched."""
        with self._lock:
            absent = [chunk for chunk in chunks if chunk not in self._high]
            if absent:
                before = self._reader.bytes_read["high"]
                fetched = [kv.to(device=self._device) for kv in self._reader.high(absent)]
                self._high.update(zip(absent, fetched, strict=True))
                bytes_read["high"] += self._reader.bytes_read["high"] - before
            return [self._high[chunk] for chunk in chunks]

    def low(self, chunks: Sequence[int], bytes_read: dict[str, int]) -> LowRead:
        """Low KVs of ``chunks``; one ranged read each, all at once. ``bytes_read["low"]`` grows by those found."""
        read = self._reader.low_found(chunks)
        bytes_read["low"] += self.level_bytes("low", read.found)
        return LowRead({chunk: kv.to(device=self._device) for chunk, kv in read.found.items()}, read.missing)

    def level_bytes(self, level: Level, chunks: Iterable[int]) -> int:
        """Size in the archive of ``chunks`` at ``level``; 0 for those that do not have it any more."""
        stored = (self.manifest.chunks[chunk].levels.get(level) for chunk in chunks)
        return sum(kv.length for kv in stored if kv is not None)
