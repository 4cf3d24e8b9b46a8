"""The shards that a writer is filling: one a level and one a kind of attachment, each closed when it is full."""

from __future__ import annotations

from collections import Counter

from videox2l.kv.chunk import KV, Level
from videox2l.kv.heads import HeadRange, head_ranges
from videox2l.store import layout
from videox2l.store.attachments import AttachmentBuilder
from videox2l.store.contents import Contents
from videox2l.store.entries import StoredAttachment, StoredKV
from videox2l.store.layout import Attachment, Part, ShardPart
from videox2l.store.shard import ShardBuilder
from videox2l.store.spec import IndexSpec
from videox2l.store.uploads import UploadQueue


class OpenShards:
    """Puts KVs and attachments into shards of one attempt. Full ones go to ``uploads`` and are entered in ``contents``.

    ``folder``: of the attempt. What ``contents`` has already keeps its numbers.
    """

    def __init__(self, spec: IndexSpec, folder: str, attempt: str, uploads: UploadQueue, contents: Contents) -> None:
        self._spec = spec
        self._folder = folder
        self._attempt = attempt
        self._uploads = uploads
        self._head_ranges: tuple[HeadRange, ...] = head_ranges(spec.kv_heads, 1)
        self._levels: dict[Level, ShardBuilder] = {}
        self._attachments: dict[Attachment, AttachmentBuilder] = {}
        self._begun: Counter[ShardPart] = Counter()
        self.begin_behind(contents)

    def begin_behind(self, contents: Contents) -> None:
        """Go on from ``contents``. Before anything is stored."""
        self._contents = contents
        self._next_number = len(contents.shards)

    @property
    def any_begun(self) -> bool:
        """Whether anything was stored."""
        return bool(self._begun)

    def share_out(self, ranks: int) -> None:
        """Shards from now on hold what so many ranks have computed.

        :raises ConfigError: the heads cannot be shared out so.
        """
        if self._levels:
            raise ValueError("a shard is of one group of ranks: say it before anything is stored")
        self._head_ranges = head_ranges(self._spec.kv_heads, ranks)

    def put_prompt(self, kv: KV) -> StoredKV:
        """Into a shard of its own."""
        builder = self._shard("prompt")
        stored = builder.add(kv)
        self._close(builder)
        return stored

    def put(self, level: Level, kv: KV) -> StoredKV:
        """The next chunk's KVs of a level; they are copied."""
        if level in self._levels and not self._levels[level].has_room(kv):
            self._close(self._levels.pop(level))
        if level not in self._levels:
            self._levels[level] = self._shard(level)
        return self._levels[level].add(kv)

    def attach(self, part: Attachment, chunk_index: int, data: bytes | None) -> StoredAttachment | None:
        """What belongs to a chunk beside its KVs, if anything does."""
        if data is None:
            return None
        if part in self._attachments and not self._attachments[part].has_room(data):
            self._close(self._attachments.pop(part))
        if part not in self._attachments:
            number, name = self._next(part)
            self._attachments[part] = AttachmentBuilder(part, number, self._attempt, name, self._head_ranges)
        return self._attachments[part].add(chunk_index, data)

    def close(self) -> None:
        """Close all that are open, full or not."""
        for level in list(self._levels):
            self._close(self._levels.pop(level))
        for part in list(self._attachments):
            self._close(self._attachments.pop(part))

    def _shard(self, part: Part) -> ShardBuilder:
        number, name = self._next(part)
        return ShardBuilder(self._spec, part, number, self._attempt, name, self._head_ranges)

    def _next(self, part: ShardPart) -> tuple[int, str]:
        """A new shard's place in the manifest, and its file's name."""
        number, self._next_number = self._next_number, self._next_number + 1
        name = layout.shard(part, self._begun[part])
        self._begun[part] += 1
        return number, name

    def _close(self, builder: ShardBuilder | AttachmentBuilder) -> None:
        shard = builder.finish()
        self._contents.shards[builder.number] = shard.entry
        self._uploads.put(f"{self._folder}/{shard.entry.name}", shard.data)
