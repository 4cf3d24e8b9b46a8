"""What an index holds so far: its chunks, its prompt, and the shards in which they lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from videox2l.kv.chunk import Level
from videox2l.store.entries import ChunkEntry, ShardEntry, StoredAttachment, StoredKV

Stored = TypeVar("Stored", StoredKV, StoredAttachment | None)


@dataclass
class Contents:
    """Grows while an index is written. ``shards`` are by their number, which stored KVs refer to."""

    prompt: StoredKV | None = None
    chunks: list[ChunkEntry] = field(default_factory=list)
    shards: dict[int, ShardEntry] = field(default_factory=dict)

    @classmethod
    def of(cls, prompt: StoredKV, chunks: Sequence[ChunkEntry], shards: Sequence[ShardEntry]) -> Contents:
        """What a manifest names, or the beginning of it."""
        return cls(prompt, list(chunks), dict(enumerate(shards)))

    def copy(self) -> Contents:
        """As it is now."""
        return Contents(self.prompt, list(self.chunks), dict(self.shards))

    def begins_with(self, beginning: Contents) -> bool:
        """Whether its first chunks are those of ``beginning``, wherever either are stored."""

        def checksums(entries: Sequence[ChunkEntry]) -> list[dict[Level, str]]:
            return [{level: kv.checksum for level, kv in entry.levels.items()} for entry in entries]

        return checksums(self.chunks[: len(beginning.chunks)]) == checksums(beginning.chunks)

    def settled(self) -> tuple[StoredKV, tuple[ChunkEntry, ...], tuple[ShardEntry, ...]]:
        """Prompt, chunks, and in a list only those shards that any of them lies in.

        :raises ValueError: there is no prompt.
        """
        if self.prompt is None:
            raise ValueError("an index needs its prompt")
        used = {self.prompt.shard} | {kv.shard for chunk in self.chunks for kv in chunk.levels.values()}
        attached = (stored for chunk in self.chunks for stored in (chunk.thumbnail, chunk.vectors))
        used |= {stored.shard for stored in attached if stored is not None}
        number = {old: new for new, old in enumerate(sorted(used))}
        chunks = tuple(
            dataclasses.replace(
                chunk,
                levels={level: renumber(kv, number) for level, kv in chunk.levels.items()},
                thumbnail=renumber(chunk.thumbnail, number),
                vectors=renumber(chunk.vectors, number),
            )
            for chunk in self.chunks
        )
        return renumber(self.prompt, number), chunks, tuple(self.shards[old] for old in sorted(used))


def renumber(stored: Stored, number: Mapping[int, int]) -> Stored:
    """``stored`` in a list of shards where old number n has become ``number[n]``; None stays None."""
    return stored if stored is None else dataclasses.replace(stored, shard=number[stored.shard])
