"""What a manifest says of each stored KV, each file and each chunk, and how that is read back with care."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from videox2l.errors import ArchiveFormatError
from videox2l.kv.chunk import LEVELS, Level
from videox2l.kv.heads import HeadRange
from videox2l.store import documents, layout
from videox2l.store.documents import count, matching
from videox2l.store.layout import Attachment, ShardPart

_CHECKSUM = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class StoredKV:
    """Where one KV lies: ``length`` bytes at ``offset`` of shard number ``shard``, an encapsulated Arrow IPC message.

    ``checksum``: XXH3-128 of exactly these bytes. ``buffers``: offset and length inside the message of each buffer that
    the codec made, in the codec's order. ``next_position``: as of :class:`~videox2l.kv.KV`; not written where there is
    none.
    """

    tokens: int
    shard: int
    offset: int
    length: int
    checksum: str
    buffers: tuple[tuple[int, int], ...]
    next_position: int | None = None

    def to_document(self) -> dict[str, Any]:
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    @classmethod
    def from_document(cls, document: Any, where: str) -> StoredKV:
        return cls(
            tokens=count(document, "tokens", where),
            shard=count(document, "shard", where),
            offset=count(document, "offset", where),
            length=count(document, "length", where),
            checksum=matching(document, "checksum", _CHECKSUM, where),
            buffers=tuple(
                _two_numbers(pair, "a buffer", where) for pair in documents.field(document, "buffers", list, where)
            ),
            next_position=count(document, "next_position", where) if "next_position" in document else None,
        )


@dataclass(frozen=True)
class StoredAttachment:
    """Where a chunk's picture or vectors lie: ``length`` bytes at ``offset`` of shard ``shard``, with this XXH3-128."""

    shard: int
    offset: int
    length: int
    checksum: str

    @classmethod
    def from_document(cls, document: Any, where: str) -> StoredAttachment:
        return cls(
            shard=count(document, "shard", where),
            offset=count(document, "offset", where),
            length=count(document, "length", where),
            checksum=matching(document, "checksum", _CHECKSUM, where),
        )


@dataclass(frozen=True)
class ShardEntry:
    """One file: the attempt it was written by, its name there, what it holds, bytes, and XXH3-128 over the whole.

    ``head_ranges``: which KV heads each rank of the model computed, in the order of the ranks; all in one range for a
    model on one device. Its KVs hold all heads in any case. Of the rest it says how the KVs beside it were made.
    """

    attempt: str
    name: str
    part: ShardPart
    size: int
    checksum: str
    head_ranges: tuple[HeadRange, ...]

    def to_document(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"head_ranges": [[part.start, part.stop] for part in self.head_ranges]}

    @classmethod
    def from_document(cls, document: Any, where: str) -> ShardEntry:
        part = documents.field(document, "part", str, where)
        if part not in (*LEVELS, "prompt", *get_args(Attachment)):
            raise ArchiveFormatError(
                f"{where}: a shard belongs to {part!r}, which is no part of an index. Ingest again."
            )
        return cls(
            attempt=matching(document, "attempt", layout.ATTEMPT_NAME, where),
            name=matching(document, "name", layout.SHARD_NAME, where),
            part=part,  # type: ignore[arg-type]
            size=count(document, "size", where),
            checksum=matching(document, "checksum", _CHECKSUM, where),
            head_ranges=tuple(
                _head_range(pair, where) for pair in documents.field(document, "head_ranges", list, where)
            ),
        )


@dataclass(frozen=True)
class ChunkEntry:
    """One chunk of the video: presentation times in seconds, number of sampled frames, and its KVs by level.

    ``frames_checksum``: XXH3-128 over the decoded frames as the model saw them, or empty where the writer was not told.
    A level that was removed on purpose, to save space, is missing from ``levels``. ``thumbnail``: a picture of it for
    people, ``vectors``: what a retriever makes of it; each where it was kept.
    """

    index: int
    start_s: float
    end_s: float
    frames: int
    levels: Mapping[Level, StoredKV]
    frames_checksum: str = ""
    thumbnail: StoredAttachment | None = None
    vectors: StoredAttachment | None = None

    def to_document(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"levels": {level: kv.to_document() for level, kv in self.levels.items()}}

    @classmethod
    def from_document(cls, document: Any, where: str) -> ChunkEntry:
        levels = documents.field(document, "levels", dict, where)
        entry = cls(
            index=count(document, "index", where),
            start_s=documents.field(document, "start_s", float, where),
            end_s=documents.field(document, "end_s", float, where),
            frames=count(document, "frames", where),
            levels={level: StoredKV.from_document(levels[level], where) for level in LEVELS if level in levels},
            frames_checksum=documents.field(document, "frames_checksum", str, where),
            thumbnail=_attachment(document, "thumbnail", where),
            vectors=_attachment(document, "vectors", where),
        )
        if not (math.isfinite(entry.start_s) and math.isfinite(entry.end_s) and entry.start_s <= entry.end_s):
            raise ArchiveFormatError(f"{where}: chunk {entry.index} spans {entry.start_s} to {entry.end_s} seconds.")
        return entry


def _attachment(document: Any, name: str, where: str) -> StoredAttachment | None:
    found = document.get(name)
    return None if found is None else StoredAttachment.from_document(found, where)


def _head_range(pair: Any, where: str) -> HeadRange:
    try:
        return HeadRange(*_two_numbers(pair, "a range of KV heads", where))
    except ValueError as error:
        raise ArchiveFormatError(f"{where}: {error}. Ingest the video again.") from error


def _two_numbers(pair: Any, what: str, where: str) -> tuple[int, int]:
    if not (isinstance(pair, list) and len(pair) == 2 and all(type(number) is int for number in pair)):
        raise ArchiveFormatError(f"{where}: {what} is {str(pair)[:80]}, not two numbers. Ingest the video again.")
    return pair[0], pair[1]
