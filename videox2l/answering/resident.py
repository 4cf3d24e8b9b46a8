"""One video's index as questions need it: high KVs loaded once and kept, low KVs fetched chunk by chunk."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, as_completed

import numpy as np
import torch

from videox2l.answering.costs import Costs
from videox2l.errors import ArchiveError, ConfigError, CorruptDataError, FingerprintMismatchError
from videox2l.identity import describe_difference
from videox2l.kv import KV, Level, lay_side_by_side
from videox2l.models import KVCompressibleModel
from videox2l.selection import Retrieved
from videox2l.store import IndexReader
from videox2l.store.low_chunks import LowChunk, LowChunks

Arrival = tuple[int, KV | str]
"""A chunk and its low KVs, or the reason why it has none."""


class ResidentVideo:
    """A video of the archive beside the model that answers about it. Safe to share between threads."""

    def __init__(self, model: KVCompressibleModel, reader: IndexReader, low: LowChunks | None = None) -> None:
        """``low``: caches for low KVs, shared by videos; without it they are read from storage each time.

        Raises :class:`FingerprintMismatchError` when the index was made by another model.
        """
        manifest = reader.manifest
        if manifest.spec.model_fingerprint != model.identity.fingerprint:
            difference = describe_difference(dict(manifest.spec.model), model.identity.document)
            raise FingerprintMismatchError(
                f"{manifest.video.name} was ingested with another model than {model.name!r}:\n{difference}\n"
                "Load that model, or ingest the video again with this one."
            )
        self._reader = reader
        self._cached = low
        self._device: torch.device = model.decoder.device
        self._lock = threading.Lock()
        self._prompt: KV | None = None
        self._high: dict[int, KV] = {}
        self._vectors: list[np.ndarray] | None = None
        self.manifest = manifest
        self.doubtful = False
        """Low KVs were not what the manifest says: perhaps the index was replaced, so open it again."""

    @property
    def chunks(self) -> int:
        return len(self.manifest.chunks)

    @property
    def has_caches(self) -> bool:
        """Whether low KVs are kept; only then can a question go on without those that are late."""
        return self._cached is not None

    @property
    def key(self) -> Hashable:
        """Equal for videos with the same KVs."""
        return self.manifest.path, self.manifest.attempt

    def prompt(self, costs: Costs) -> KV:
        """The prompt's KVs; what had to be fetched is booked."""
        with self._lock:
            if self._prompt is None:
                self._prompt = self._reader.prompt().to(device=self._device)
                costs.book("prompt", "storage", self.manifest.prompt.length)
            return self._prompt

    def high(self, chunks: Sequence[int], costs: Costs) -> list[KV]:
        """High KVs of ``chunks``, in their order; what had to be fetched is booked."""
        with self._lock:
            absent = [chunk for chunk in chunks if chunk not in self._high]
            if absent:
                before = self._reader.bytes_read["high"]
                fetched = self._reader.high(absent)
                lay_side_by_side(fetched, self._device)
                self._high.update(zip(absent, fetched, strict=True))
                costs.book("high", "storage", self._reader.bytes_read["high"] - before)
            return [self._high[chunk] for chunk in chunks]

    def retrieved(self, chunks: Sequence[int]) -> Retrieved | None:
        """What a retriever has made of ``chunks``; read when it is first looked at, and kept."""
        identity = self.manifest.retriever
        if identity is None:
            return None

        def read() -> list[np.ndarray]:
            with self._lock:
                if self._vectors is None:
                    self._vectors = self._reader.vectors()
                return [self._vectors[chunk] for chunk in chunks]

        return Retrieved(identity, read)

    def low(self, chunks: Sequence[int], costs: Costs, deadline: float | None = None) -> Iterator[Arrival]:
        """Begin to fetch low KVs of ``chunks``, all at once; they come in the order in which they arrive.

        With caches, chunks that have not come by ``deadline`` (of ``time.perf_counter()``), or cannot, come with the
        reason; what is late arrives in the caches.

        :raises ConfigError: a deadline without caches.
        :raises ArchiveError: without caches, storage cannot be reached.
        """
        if self._cached is not None:
            return self._arriving(self._cached.start(self.manifest, chunks), costs, deadline)
        if deadline is not None:
            raise ConfigError(
                "max_first_token_ms takes caches for low KVs, as ResidentVideos has: others wait for storage"
            )
        return self._read(chunks, costs)

    def level_bytes(self, level: Level, chunks: Iterable[int]) -> int:
        """Size in the archive of ``chunks`` at ``level``; 0 for those that do not have it any more."""
        stored = (self.manifest.chunks[chunk].levels.get(level) for chunk in chunks)
        return sum(kv.length for kv in stored if kv is not None)

    def _read(self, chunks: Sequence[int], costs: Costs) -> Iterator[Arrival]:
        read = self._reader.low_found(chunks)
        costs.book("low", "storage", self.level_bytes("low", read.found))
        self.doubtful |= any("low" in self.manifest.chunks[chunk].levels for chunk in read.missing)
        yield from read.missing.items()
        for chunk, kv in read.found.items():
            yield chunk, kv.to(device=self._device)

    def _arriving(
        self, started: dict[int, Future[LowChunk]], costs: Costs, deadline: float | None
    ) -> Iterator[Arrival]:
        chunk_of = {future: chunk for chunk, future in started.items()}
        begun = time.perf_counter()
        left_s = None if deadline is None else max(0.0, deadline - begun)
        try:
            for future in as_completed(chunk_of, left_s):
                chunk = chunk_of.pop(future)
                try:
                    low = future.result()
                except ArchiveError as error:
                    stored = "low" in self.manifest.chunks[chunk].levels
                    self.doubtful |= stored and isinstance(error, CorruptDataError)
                    yield chunk, str(error)
                    continue
                costs.book("low", low.origin, self.level_bytes("low", [chunk]))
                yield chunk, low.kv.to(device=self._device)
        except TimeoutError:
            waited = (time.perf_counter() - begun) * 1000
            for chunk in chunk_of.values():
                yield chunk, f"{self.manifest.path}, chunk {chunk}: its low KVs did not come within {waited:.0f} ms"
