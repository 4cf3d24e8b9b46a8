"""Which ranges hold the wanted KVs, and how what was fetched becomes tensors: the same for all kinds of readers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from videox2l.errors import CorruptDataError
from videox2l.kv.chunk import KV, Level
from videox2l.store.entries import StoredKV
from videox2l.store.layout import Part
from videox2l.store.manifest import Manifest
from videox2l.store.shard import decode
from videox2l.store.storage import Range

# A range is not made longer than this to join KVs of a shard. Writers close high shards well before.
_LONGEST_RANGE = 64 * 2**20


@dataclass(frozen=True)
class Piece:
    """One KV inside a fetched range, ``begin`` bytes after its start. ``chunk`` is None for the prompt."""

    range_number: int
    begin: int
    stored: StoredKV
    part: Part
    chunk: int | None


@dataclass(frozen=True)
class ReadPlan:
    """Ranges to fetch, all at once, and the KVs in them in the order they were asked for."""

    ranges: Sequence[Range]
    pieces: Sequence[Piece]


def plan_prompt(manifest: Manifest) -> ReadPlan:
    """The KVs of the prompt before the video."""
    return ReadPlan([_range(manifest, manifest.prompt)], [Piece(0, 0, manifest.prompt, "prompt", None)])


def plan_each(manifest: Manifest, level: Level, chunks: Iterable[int]) -> ReadPlan:
    """One range a chunk: exactly its bytes."""
    pieces = [
        Piece(number, 0, stored, level, chunk)
        for number, (chunk, stored) in enumerate(_stored(manifest, level, chunks))
    ]
    return ReadPlan([_range(manifest, piece.stored) for piece in pieces], pieces)


def plan_together(manifest: Manifest, level: Level, chunks: Iterable[int]) -> ReadPlan:
    """Few large ranges: one a shard, from its first wanted KV to its last."""
    by_shard: dict[int, list[tuple[int, StoredKV]]] = defaultdict(list)
    for chunk, stored in _stored(manifest, level, chunks):
        by_shard[stored.shard].append((chunk, stored))
    ranges: list[Range] = []
    pieces: list[Piece] = []
    for members in by_shard.values():
        for group in _close_together(members):
            start, end = group[0][1].offset, group[-1][1].offset + group[-1][1].length
            ranges.append(Range(manifest.shard_path(group[0][1].shard), start, end - start))
            pieces += [Piece(len(ranges) - 1, kv.offset - start, kv, level, chunk) for chunk, kv in group]
    return ReadPlan(ranges, pieces)


def decode_piece(
    manifest: Manifest, plan: ReadPlan, piece: Piece, fetched: bytes | memoryview, found: str | None = None
) -> KV:
    """The KV of ``piece``; ``fetched`` is what its whole range gave, and ``found`` its checksum if that is known.

    :raises CorruptDataError: the bytes are not what was written.
    """
    name = "the prompt" if piece.chunk is None else f"chunk {piece.chunk}"
    where = f"{plan.ranges[piece.range_number].path}, {name}"
    data = memoryview(fetched)[piece.begin : piece.begin + piece.stored.length]
    return decode(data, piece.stored, manifest.spec, piece.part, where, found)


def removed(manifest: Manifest, level: Level, chunk: int) -> str | None:
    """In words, that the level of this chunk was removed on purpose; None if it was not.

    :raises IndexError: there is no such chunk.
    """
    if not 0 <= chunk < len(manifest.chunks):
        raise IndexError(f"chunk {chunk} does not exist: the video has {len(manifest.chunks)} chunks")
    if level in manifest.chunks[chunk].levels:
        return None
    return (
        f"{manifest.path}, chunk {chunk}: its {level} KVs were removed on "
        f"{manifest.dropped.get(level, 'an unknown day')} to save space. "
        "`videox2l ingest --replace` makes them again."
    )


def _stored(manifest: Manifest, level: Level, chunks: Iterable[int]) -> Iterable[tuple[int, StoredKV]]:
    for chunk in chunks:
        if (reason := removed(manifest, level, chunk)) is not None:
            raise CorruptDataError(reason)
        stored = manifest.chunks[chunk].levels[level]
        yield chunk, stored


def _range(manifest: Manifest, stored: StoredKV) -> Range:
    return Range(manifest.shard_path(stored.shard), stored.offset, stored.length)


def _close_together(members: list[tuple[int, StoredKV]]) -> Iterable[list[tuple[int, StoredKV]]]:
    """``members`` of one shard in groups that lie next to one another: what is between two KVs is not fetched."""
    members = sorted(members, key=lambda member: member[1].offset)
    group = members[:1]
    for member in members[1:]:
        last = group[-1][1]
        adjoins = member[1].offset == last.offset + last.length
        if adjoins and member[1].offset + member[1].length - group[0][1].offset <= _LONGEST_RANGE:
            group.append(member)
        else:
            yield group
            group = [member]
    yield group
