"""Reading one committed index: the high level in a few large requests, each low chunk in exactly one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from videox2l.errors import CorruptDataError
from videox2l.kv.chunk import KV
from videox2l.store.layout import Part
from videox2l.store.manifest import Manifest
from videox2l.store.reads import Piece, ReadPlan, decode_piece, plan_each, plan_prompt, plan_together, removed
from videox2l.store.storage import Range, Storage
from videox2l.store.thumbnails import read_thumbnail
from videox2l.store.vectors import read_vectors

Fetch = Callable[[Sequence[Range]], Sequence[bytes | memoryview]]
"""Reads ranges in their order; cut short where a file ends early, ``FileNotFoundError`` where one is missing."""


@dataclass(frozen=True)
class LowRead:
    """Low KVs by chunk, and for the chunks that have none any more, the reason in words."""

    found: dict[int, KV]
    missing: dict[int, str]


class IndexReader:
    """Reads KVs of one index. Made by :meth:`videox2l.store.Archive.open_index`.

    Every read is verified against the manifest's checksum. KVs come as CPU tensors, [layers, KV heads, tokens, head
    dimension] in the spec's dtype, that may view the bytes read: treat them as read-only. Nothing is cached here. Safe
    to use from several threads and after a fork; calls block, so keep them out of coroutines.

    All reads raise :class:`CorruptDataError` (bytes changed, cut short, missing or removed) and
    :class:`~videox2l.errors.ArchiveError` (storage not reachable).
    """

    def __init__(self, storage: Storage, manifest: Manifest, fetch: Fetch | None = None) -> None:
        """``fetch`` reads ranges in another way than ``storage`` does, such as with retries and deadlines."""
        self.manifest = manifest
        self.storage = storage
        self._fetch = fetch or storage.read_ranges
        self._counts: dict[Part, int] = {"prompt": 0, "low": 0, "high": 0}
        self._lock = threading.Lock()

    @property
    def bytes_read(self) -> dict[Part, int]:
        """Bytes fetched so far for the prompt and each level."""
        with self._lock:
            return dict(self._counts)

    def prompt(self) -> KV:
        """KVs of the prompt before the video."""
        return self._read(plan_prompt(self.manifest), "prompt")[0]

    def high(self, chunks: Iterable[int] | None = None) -> list[KV]:
        """High-level KVs of these chunks, or of all, in order. Few requests, all at once."""
        wanted = range(len(self.manifest.chunks)) if chunks is None else list(chunks)
        plan = plan_together(self.manifest, "high", wanted)
        by_chunk = dict(zip((piece.chunk for piece in plan.pieces), self._read(plan, "high"), strict=True))
        return [by_chunk[chunk] for chunk in wanted]

    def low(self, chunk_index: int) -> KV:
        """Low-level KVs of one chunk, in one ranged request.

        :raises IndexError: there is no such chunk.
        """
        return self.low_many([chunk_index])[chunk_index]

    def low_many(self, chunk_indices: Iterable[int]) -> dict[int, KV]:
        """Low-level KVs of these chunks by their index. One ranged request each, all at once.

        :raises IndexError: there is no such chunk.
        """
        plan = plan_each(self.manifest, "low", dict.fromkeys(chunk_indices))
        kvs = self._read(plan, "low")
        return {piece.chunk: kv for piece, kv in zip(plan.pieces, kvs, strict=True) if piece.chunk is not None}

    def low_found(self, chunk_indices: Iterable[int]) -> LowRead:
        """As :meth:`low_many`, but chunks whose low KVs are damaged, lost or removed are reported, not raised.

        :raises IndexError: there is no such chunk.
        """
        wanted = list(dict.fromkeys(chunk_indices))
        result = LowRead({}, {})
        for chunk in wanted:
            if (reason := removed(self.manifest, "low", chunk)) is not None:
                result.missing[chunk] = reason
        plan = plan_each(self.manifest, "low", [chunk for chunk in wanted if chunk not in result.missing])
        for piece, kv in zip(plan.pieces, self._read_each(plan, "low"), strict=True):
            assert piece.chunk is not None
            if isinstance(kv, CorruptDataError):
                result.missing[piece.chunk] = str(kv)
            else:
                result.found[piece.chunk] = kv
        return result

    def thumbnail(self, chunk_index: int) -> bytes | None:
        """A small JPEG of one chunk, in one ranged request; None where the index has none of it.

        :raises IndexError: there is no such chunk.
        """
        return read_thumbnail(self.storage, self.manifest, chunk_index)

    def vectors(self) -> list[np.ndarray]:
        """Of each chunk what its retriever made of it, ``[n, dimension]``, in one go.

        :raises ConfigError: the video was ingested without a retriever.
        """
        return read_vectors(self.storage, self.manifest)

    def _read_each(self, plan: ReadPlan, part: Part) -> list[KV | CorruptDataError]:
        """The plan's pieces, each in a range of its own, or what is wrong with them."""
        try:
            fetched: list[bytes | memoryview | CorruptDataError] = list(self._fetch(plan.ranges))
        except FileNotFoundError:
            fetched = [self._fetch_one(place) for place in plan.ranges]
        kvs: list[KV | CorruptDataError] = []
        for piece, data in zip(plan.pieces, fetched, strict=True):
            if isinstance(data, CorruptDataError):
                kvs.append(data)
                continue
            self.count(part, len(data))
            try:
                kvs.append(decode_piece(self.manifest, plan, piece, data))
            except CorruptDataError as error:
                kvs.append(error)
        return kvs

    def _fetch_one(self, place: Range) -> bytes | memoryview | CorruptDataError:
        try:
            return self._fetch([place])[0]
        except FileNotFoundError as error:
            return shard_missing(self.manifest, error)

    def _read(self, plan: ReadPlan, part: Part) -> list[KV]:
        """The plan's pieces, in their order."""
        try:
            fetched = self._fetch(plan.ranges)
        except FileNotFoundError as error:
            raise shard_missing(self.manifest, error) from error
        self.count(part, sum(len(data) for data in fetched))

        def decoded(piece: Piece) -> KV:
            return decode_piece(self.manifest, plan, piece, fetched[piece.range_number])

        return [decoded(piece) for piece in plan.pieces]

    def count(self, part: Part, size: int) -> None:
        """Book ``size`` bytes fetched for ``part``."""
        with self._lock:
            self._counts[part] += size


def shard_missing(manifest: Manifest, error: FileNotFoundError) -> CorruptDataError:
    """What a reader says of a shard that is not there."""
    return CorruptDataError(
        f"{manifest.path}: a shard that it names is missing ({error}). "
        "Open the video again if it was just replaced; otherwise run `videox2l repair`."
    )
