"""Questions to a model that is spread over ranks: each mixes and decodes over its own heads."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterable

from videox2l.answering import Answer, ResidentVideo, TimeRange, ask
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.errors import ArchiveError
from videox2l.kv import KV
from videox2l.parallel.model import ShardedVideoXL
from videox2l.store import IndexReader, LowRead
from videox2l.store.layout import Part


def resident_over_ranks(model: ShardedVideoXL, reader: IndexReader) -> ResidentVideo:
    """A video beside a sharded model. A collective; each rank opens ``reader`` itself.

    Each rank reads all heads and keeps its own, so that what the archive was written by does not matter.

    :raises ArchiveError: the ranks opened different indexes, as one was being replaced.
    :raises FingerprintMismatchError: the index was made by another model.
    """
    attempts = model.ranks.exchange((reader.manifest.spec.index_fp, reader.manifest.attempt))
    if len(set(attempts)) > 1:
        raise ArchiveError(f"{reader.manifest.video.name} was replaced while it was opened: open it again")
    return ResidentVideo(model, HeadReader(reader, model))


def ask_over_ranks(
    model: ShardedVideoXL,
    video: ResidentVideo,
    question: str,
    selection: SelectionConfig | None = None,
    generation: GenerationConfig | None = None,
    time_range: TimeRange | None = None,
) -> Answer:
    """As :func:`~videox2l.answering.ask`, on every rank with the same arguments; all return the same text.

    ``video`` comes from :func:`resident_over_ranks`. ``receipt.bytes_read`` counts what this rank has read.
    """
    generation = generation or GenerationConfig()
    if generation.temperature and generation.seed is None:
        # One die for all: ranks that went on from different tokens would never meet again.
        seed = model.ranks.lead(lambda: secrets.randbits(63))
        generation = dataclasses.replace(generation, seed=seed)
    return ask(model, video, question, selection, generation, time_range)


class HeadReader(IndexReader):
    """Reads the local heads of an index, and only what all ranks can read.

    A chunk whose low KVs one rank cannot have is missing on all: they must put the same tokens into their memories.
    """

    def __init__(self, reader: IndexReader, model: ShardedVideoXL) -> None:
        super().__init__(reader.storage, reader.manifest)
        self._reader = reader
        self._model = model

    @property
    def bytes_read(self) -> dict[Part, int]:
        return self._reader.bytes_read

    def prompt(self) -> KV:
        return self._model.own_heads(self._model.ranks.together(self._reader.prompt))

    def high(self, chunks: Iterable[int] | None = None) -> list[KV]:
        wanted = None if chunks is None else list(chunks)
        return [self._model.own_heads(kv) for kv in self._model.ranks.together(lambda: self._reader.high(wanted))]

    def low_many(self, chunk_indices: Iterable[int]) -> dict[int, KV]:
        wanted = list(chunk_indices)
        read = self._model.ranks.together(lambda: self._reader.low_many(wanted))
        return {chunk: self._model.own_heads(kv) for chunk, kv in read.items()}

    def low_found(self, chunk_indices: Iterable[int]) -> LowRead:
        wanted = list(chunk_indices)
        read = self._model.ranks.together(lambda: self._reader.low_found(wanted))
        missing: dict[int, str] = {}
        for other in self._model.ranks.exchange(read.missing):
            missing = other | missing  # the first rank's reason stays
        found = {chunk: self._model.own_heads(kv) for chunk, kv in read.found.items() if chunk not in missing}
        return LowRead(found, missing)
