"""The manifest: what an index holds, where every byte of it lies, and what it was made from.

It is written last and only if none is there yet, so its presence *is* the commit: readers see a whole index or none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from videox2l.errors import ArchiveFormatError
from videox2l.identity import VideoIdentity
from videox2l.kv.chunk import LEVELS, Level
from videox2l.store import layout
from videox2l.store.documents import field, seal, unseal
from videox2l.store.layout import Part
from videox2l.store.spec import IndexSpec


@dataclass(frozen=True)
class StoredKV:
    """Where one KV lies: ``length`` bytes at ``offset`` of file ``shard``, an encapsulated Arrow IPC message.

    ``checksum``: XXH3-128 of exactly these bytes.
    """

    tokens: int
    shard: str
    offset: int
    length: int
    checksum: str

    @classmethod
    def from_document(cls, document: Any, where: str) -> StoredKV:
        return cls(
            tokens=field(document, "tokens", int, where),
            shard=field(document, "shard", str, where),
            offset=field(document, "offset", int, where),
            length=field(document, "length", int, where),
            checksum=field(document, "checksum", str, where),
        )


@dataclass(frozen=True)
class ShardEntry:
    """One file of the attempt: its name, what it holds, bytes, and XXH3-128 over the whole file."""

    name: str
    part: Part
    size: int
    checksum: str


@dataclass(frozen=True)
class ChunkEntry:
    """One chunk of the video: presentation times in seconds, number of sampled frames, and its KVs by level."""

    index: int
    start_s: float
    end_s: float
    frames: int
    levels: Mapping[Level, StoredKV]

    @classmethod
    def from_document(cls, document: Any, where: str) -> ChunkEntry:
        levels = field(document, "levels", dict, where)
        return cls(
            index=field(document, "index", int, where),
            start_s=field(document, "start_s", float, where),
            end_s=field(document, "end_s", float, where),
            frames=field(document, "frames", int, where),
            levels={level: StoredKV.from_document(levels.get(level), where) for level in LEVELS},
        )


@dataclass(frozen=True)
class Totals:
    """Sums over all chunks of one level."""

    tokens: int
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything about one committed index. ``created`` is UTC, ISO 8601; ``software`` maps package to version."""

    video: VideoIdentity
    spec: IndexSpec
    prompt: StoredKV
    chunks: Sequence[ChunkEntry]
    shards: Sequence[ShardEntry]
    attempt: str
    software: Mapping[str, str]
    created: str

    @property
    def index_fp(self) -> str:
        return self.spec.index_fp

    @property
    def path(self) -> str:
        """Where this manifest lies in its archive."""
        return layout.manifest(self.video.video_id, self.index_fp)

    def shard_path(self, name: str) -> str:
        """Where shard ``name`` lies in the archive."""
        return f"{layout.attempt(self.video.video_id, self.index_fp, self.attempt)}/{name}"

    @property
    def duration_s(self) -> float:
        """End of the last chunk in seconds."""
        return self.chunks[-1].end_s if self.chunks else 0.0

    @property
    def totals(self) -> dict[Level, Totals]:
        return {
            level: Totals(
                sum(chunk.levels[level].tokens for chunk in self.chunks),
                sum(chunk.levels[level].length for chunk in self.chunks),
            )
            for level in LEVELS
        }

    def to_json(self) -> bytes:
        return seal(
            {
                "video": dataclasses.asdict(self.video),
                "index_fp": self.index_fp,
                "attempt": self.attempt,
                "created": self.created,
                "software": dict(self.software),
                "spec": self.spec.to_document(),
                # Derived, but what a person opening this file looks for first.
                "totals": {level: dataclasses.asdict(total) for level, total in self.totals.items()},
                "prompt": dataclasses.asdict(self.prompt),
                "shards": [dataclasses.asdict(shard) for shard in self.shards],
                "chunks": [dataclasses.asdict(chunk) for chunk in self.chunks],
            }
        )

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Manifest:
        """Parse and verify. ``where`` names the file in errors.

        :raises ArchiveFormatError: another format version, a missing field, or chunks out of order.
        :raises CorruptDataError: the bytes are not what was written.
        """
        document = unseal(data, where)
        video = field(document, "video", dict, where)
        manifest = cls(
            video=VideoIdentity(
                video_id=field(video, "video_id", str, where),
                name=field(video, "name", str, where),
                source=field(video, "source", str, where),
                size=field(video, "size", int, where),
                sha256=field(video, "sha256", str, where),
            ),
            spec=IndexSpec.from_document(field(document, "spec", dict, where), where),
            prompt=StoredKV.from_document(field(document, "prompt", dict, where), where),
            chunks=tuple(ChunkEntry.from_document(chunk, where) for chunk in field(document, "chunks", list, where)),
            shards=tuple(_shard_entry(shard, where) for shard in field(document, "shards", list, where)),
            attempt=field(document, "attempt", str, where),
            software=field(document, "software", dict, where),
            created=field(document, "created", str, where),
        )
        if manifest.index_fp != field(document, "index_fp", str, where):
            raise ArchiveFormatError(f"{where}: its settings do not give the index it names. Ingest the video again.")
        if [chunk.index for chunk in manifest.chunks] != list(range(len(manifest.chunks))):
            raise ArchiveFormatError(f"{where}: its chunks are not numbered 0, 1, 2, … Ingest the video again.")
        return manifest


def _shard_entry(document: Any, where: str) -> ShardEntry:
    part = field(document, "part", str, where)
    if part not in (*LEVELS, "prompt"):
        raise ArchiveFormatError(f"{where}: a shard belongs to {part!r}, which is no part of an index. Ingest again.")
    return ShardEntry(
        name=field(document, "name", str, where),
        part=part,  # type: ignore[arg-type]
        size=field(document, "size", int, where),
        checksum=field(document, "checksum", str, where),
    )
