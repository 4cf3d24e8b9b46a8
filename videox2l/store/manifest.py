"""The manifest: what an index holds, where every byte of it lies, and what it was made from.

It is written last and only if none is there yet, so its presence *is* the commit: readers see a whole index or none.
Everything read from one is checked for being possible, so that a forged or foreign manifest cannot lead a reader out of
the archive or make it allocate more than the stored files are long.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from videox2l.errors import ArchiveFormatError
from videox2l.identity import ID_LENGTH, RetrieverIdentity, VideoIdentity
from videox2l.kv.chunk import LEVELS, Level
from videox2l.kv.heads import HeadRange, hold_all_heads
from videox2l.store import documents, layout
from videox2l.store.documents import count, matching, seal, unseal
from videox2l.store.entries import ChunkEntry, ShardEntry, StoredAttachment, StoredKV
from videox2l.store.layout import Attachment, Part
from videox2l.store.metadata import MAX_ALIASES_BYTES, Alias, Description, MetadataValue, metadata_problem
from videox2l.store.spec import ROPE_CONVENTION, IndexSpec

ID = re.compile(f"[0-9a-f]{{{ID_LENGTH}}}")
_SHA256 = re.compile("[0-9a-f]{64}")

MAX_SHARD_BYTES = 5 * 2**30
"""S3's largest single PUT, and every shard is one."""

MAX_EXPANSION = 256
"""A stored KV may decode to at most this many times its bytes. Codecs keep within it, whatever they are given."""

MAX_ATTACHMENT_BYTES = 2**16
"""The largest picture, or vectors, stored for a chunk. 160 x 160 pixels of pure noise are 15 KB, and four vectors of
4,096 numbers 32 KiB."""

_MAX_POSITION = 2**22
"""Some times what any model is made for. Tables of as many positions are computed to move keys: 4 GiB at most."""

_SMALL_BYTES = 2**16  # of decoded KVs, where the ratio says nothing: a few tokens hardly fill their own framing


@dataclass(frozen=True)
class Totals:
    """Sums over all chunks of one level."""

    tokens: int
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything about one committed index. ``created`` is UTC, ISO 8601; ``software`` maps package to version.

    ``recorded_at``: wall-clock time of the video's second 0 (ISO 8601 with offset), where it was given.
    ``replaces``: attempts at other indexes of the same video that this commit made obsolete, with those whose shards
    they used. ``dropped``: when a level was removed to save space. ``metadata``: the user's own values. ``aliases``:
    what else the video is called. ``retriever``: what made the chunks' vectors, where they have any.
    """

    video: VideoIdentity
    spec: IndexSpec
    prompt: StoredKV
    chunks: Sequence[ChunkEntry]
    shards: Sequence[ShardEntry]
    attempt: str
    software: Mapping[str, str]
    created: str
    recorded_at: str | None = None
    replaces: Sequence[str] = ()
    dropped: Mapping[Level, str] = field(default_factory=dict)
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    aliases: Sequence[Alias] = ()
    retriever: RetrieverIdentity | None = None

    @property
    def index_fp(self) -> str:
        return self.spec.index_fp

    @property
    def path(self) -> str:
        """Where this manifest lies in its archive."""
        return layout.manifest(self.video.video_id, self.index_fp)

    def shard_path(self, number: int) -> str:
        """Where shard ``number`` lies in the archive."""
        shard = self.shards[number]
        return f"{layout.attempt(self.video.video_id, self.index_fp, shard.attempt)}/{shard.name}"

    @property
    def attempts(self) -> set[str]:
        """The attempts whose files this index uses."""
        return {shard.attempt for shard in self.shards}

    @property
    def head_ranges(self) -> list[tuple[HeadRange, ...]]:
        """Over which ranks the model was spread when chunks were computed: the different ways, fewest ranks first."""
        return sorted({shard.head_ranges for shard in self.shards}, key=lambda ranges: (len(ranges), ranges))

    @property
    def duration_s(self) -> float:
        """End of the last chunk in seconds."""
        return self.chunks[-1].end_s if self.chunks else 0.0

    @property
    def totals(self) -> dict[Level, Totals]:
        stored = {level: [c.levels[level] for c in self.chunks if level in c.levels] for level in LEVELS}
        return {
            level: Totals(sum(kv.tokens for kv in kvs), sum(kv.length for kv in kvs)) for level, kvs in stored.items()
        }

    @property
    def description(self) -> Description:
        """What is said of the video."""
        return Description(
            self.video.name, self.video.source, tuple(self.aliases), self.recorded_at, dict(self.metadata)
        )

    def described(self, said: Description) -> Manifest:
        """This manifest with something else said of the video, whose source stays."""
        return dataclasses.replace(
            self,
            video=dataclasses.replace(self.video, name=said.name),
            aliases=said.aliases,
            recorded_at=said.recorded_at,
            metadata=said.metadata,
        )

    def to_json(self) -> bytes:
        return seal(
            {
                "video": dataclasses.asdict(self.video),
                "index_fp": self.index_fp,
                "attempt": self.attempt,
                "created": self.created,
                "recorded_at": self.recorded_at,
                "metadata": dict(self.metadata),
                "aliases": [dataclasses.asdict(alias) for alias in self.aliases],
                "replaces": list(self.replaces),
                "dropped": dict(self.dropped),
                "retriever": None if self.retriever is None else dataclasses.asdict(self.retriever),
                "software": dict(self.software),
                "spec": self.spec.to_document(),
                # Derived, but what a person opening this file looks for first.
                "totals": {level: dataclasses.asdict(total) for level, total in self.totals.items()},
                "prompt": self.prompt.to_document(),
                "shards": [shard.to_document() for shard in self.shards],
                "chunks": [chunk.to_document() for chunk in self.chunks],
            }
        )

    @classmethod
    def from_json(cls, data: bytes | memoryview, where: str) -> Manifest:
        """Parse and verify. ``where`` names the file in errors.

        :raises ArchiveFormatError: another format version, a missing field, an impossible value.
        :raises CorruptDataError: the bytes are not what was written.
        """
        document = unseal(data, where)
        get = documents.field
        recorded_at, replaces = document.get("recorded_at"), get(document, "replaces", list, where)
        manifest = cls(
            video=_video(get(document, "video", dict, where), where),
            spec=IndexSpec.from_document(get(document, "spec", dict, where), where),
            prompt=StoredKV.from_document(get(document, "prompt", dict, where), where),
            chunks=tuple(ChunkEntry.from_document(chunk, where) for chunk in get(document, "chunks", list, where)),
            shards=tuple(ShardEntry.from_document(shard, where) for shard in get(document, "shards", list, where)),
            attempt=matching(document, "attempt", layout.ATTEMPT_NAME, where),
            software={str(name): str(text) for name, text in get(document, "software", dict, where).items()},
            created=_time(get(document, "created", str, where), where),
            recorded_at=None if recorded_at is None else _time(get(document, "recorded_at", str, where), where),
            replaces=tuple(str(attempt) for attempt in replaces),
            dropped={
                level: _time(str(text), where)
                for level, text in get(document, "dropped", dict, where).items()
                if level in LEVELS
            },
            metadata=_metadata(get(document, "metadata", dict, where), where),
            aliases=_aliases(get(document, "aliases", list, where), where),
            retriever=parse_retriever(document.get("retriever"), where),
        )
        if manifest.index_fp != get(document, "index_fp", str, where):
            raise ArchiveFormatError(f"{where}: its settings do not give the index it names. Ingest the video again.")
        _check(manifest, where)
        return manifest


def parse_retriever(document: Any, where: str) -> RetrieverIdentity | None:
    """What ``document``, if it is not None, says of the retriever.

    :raises ArchiveFormatError: it is none.
    """
    if document is None:
        return None
    return RetrieverIdentity(
        name=documents.field(document, "name", str, where),
        fingerprint=matching(document, "fingerprint", ID, where),
        dimension=count(document, "dimension", where),
    )


def _video(document: Any, where: str) -> VideoIdentity:
    return VideoIdentity(
        video_id=matching(document, "video_id", ID, where),
        name=documents.field(document, "name", str, where),
        source=documents.field(document, "source", str, where),
        size=count(document, "size", where),
        sha256=matching(document, "sha256", _SHA256, where),
    )


def _metadata(document: dict[str, Any], where: str) -> dict[str, MetadataValue]:
    problem = metadata_problem(document)
    if problem:
        raise ArchiveFormatError(f"{where}: of its metadata, {problem}. Ingest the video again.")
    return document


def _aliases(documents_: list[Any], where: str) -> tuple[Alias, ...]:
    text = documents.field
    found = tuple(Alias(text(item, "name", str, where), text(item, "source", str, where)) for item in documents_)
    if sum(len(alias.name) + len(alias.source) for alias in found) > MAX_ALIASES_BYTES:
        raise ArchiveFormatError(f"{where}: it has more names than a writer gives a video. Ingest the video again.")
    return found


def _time(text: str, where: str) -> str:
    """``text``, which must be an ISO 8601 time with its offset from UTC."""
    try:
        aware = datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        aware = False
    if not aware:
        raise ArchiveFormatError(f"{where}: {text[:80]!r} is no time with its offset from UTC. Ingest again.")
    return text


def _check(manifest: Manifest, where: str) -> None:
    """Every KV lies inside a shard of its part and cannot grow beyond reason when it is decoded."""
    if [chunk.index for chunk in manifest.chunks] != list(range(len(manifest.chunks))):
        raise ArchiveFormatError(f"{where}: its chunks are not numbered 0, 1, 2, … Ingest the video again.")
    if any(shard.size > MAX_SHARD_BYTES for shard in manifest.shards):
        raise ArchiveFormatError(f"{where}: a shard is larger than any writer makes them. Ingest the video again.")
    heads = manifest.spec.kv_heads
    for shard in manifest.shards:
        if not hold_all_heads(shard.head_ranges, heads):
            shares = str([[part.start, part.stop] for part in shard.head_ranges])[:80]
            raise ArchiveFormatError(
                f"{where}: the ranks that made {shard.name} had KV heads {shares}, which are not all {heads} of the "
                "model, each once and in order. Ingest the video again."
            )
    stored: list[tuple[str, Part, StoredKV]] = [("the prompt", "prompt", manifest.prompt)]
    for chunk in manifest.chunks:
        missing = set(LEVELS) - chunk.levels.keys() - manifest.dropped.keys()
        if missing:
            raise ArchiveFormatError(f"{where}: chunk {chunk.index} lacks its {min(missing)} KVs. Ingest again.")
        stored += [(f"chunk {chunk.index}", level, kv) for level, kv in chunk.levels.items()]
    for name, part, kv in stored:
        if not _lies_inside(kv, part, manifest):
            raise ArchiveFormatError(f"{where}: the {part} KVs of {name} cannot lie where it says. Ingest again.")
        if not _has_its_position(kv, manifest):
            raise ArchiveFormatError(
                f"{where}: the {part} KVs of {name} and its RoPE do not go together ({manifest.spec.rope}; next "
                f"position {kv.next_position}). Ingest the video again."
            )
    for chunk in manifest.chunks:
        attached: dict[Attachment, StoredAttachment | None] = {"thumbnails": chunk.thumbnail, "vectors": chunk.vectors}
        for kind, stored_one in attached.items():
            if stored_one is not None and not _is_inside(stored_one, kind, manifest):
                raise ArchiveFormatError(
                    f"{where}: the {kind} of chunk {chunk.index} cannot lie where it says. Ingest the video again."
                )
    if manifest.retriever is None and any(chunk.vectors for chunk in manifest.chunks):
        raise ArchiveFormatError(f"{where}: it has vectors and does not say whose. Ingest the video again.")


def _is_inside(stored: StoredAttachment, part: Attachment, manifest: Manifest) -> bool:
    if stored.shard >= len(manifest.shards) or stored.length > MAX_ATTACHMENT_BYTES:
        return False
    shard = manifest.shards[stored.shard]
    return shard.part == part and stored.offset + stored.length <= shard.size


def _has_its_position(kv: StoredKV, manifest: Manifest) -> bool:
    if manifest.spec.rope == ROPE_CONVENTION:
        return kv.next_position is None
    return kv.next_position is not None and kv.next_position <= _MAX_POSITION


def _lies_inside(kv: StoredKV, part: Part, manifest: Manifest) -> bool:
    if kv.shard >= len(manifest.shards):
        return False
    shard = manifest.shards[kv.shard]
    # Arrow aligns buffers to 8 bytes, which tensors of any dtype can be viewed at.
    inside = all(
        offset >= 0 and length >= 0 and offset % 8 == 0 and offset + length <= kv.length
        for offset, length in kv.buffers
    )
    decoded = kv.tokens * manifest.spec.bytes_per_token
    small_enough = decoded <= max(MAX_EXPANSION * kv.length, _SMALL_BYTES)
    return shard.part == part and inside and kv.offset + kv.length <= shard.size and small_enough
