"""Reading one committed index from coroutines, and the same reads for threads beside an event loop."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from types import TracebackType

from videox2l.errors import CorruptDataError
from videox2l.kv.chunk import KV
from videox2l.store.documents import Checksum
from videox2l.store.fetch import Fetcher
from videox2l.store.manifest import Manifest
from videox2l.store.range_sources import Data
from videox2l.store.reader import LowRead, shard_missing
from videox2l.store.reads import Piece, ReadPlan, decode_piece, plan_each, plan_prompt, plan_together
from videox2l.store.storage import Range


class AsyncIndexReader:
    """:class:`~videox2l.store.IndexReader` for coroutines: the same reads and errors, through a :class:`Fetcher`.

    Checksums and codecs run in the threads that read, since 39 MiB of low KVs would hold up the loop for milliseconds.
    """

    def __init__(self, fetcher: Fetcher, manifest: Manifest) -> None:
        self.manifest = manifest
        self._fetcher = fetcher

    async def prompt(self) -> KV:
        """KVs of the prompt before the video."""
        return (await self._read(plan_prompt(self.manifest)))[0]

    async def high(self, chunks: Iterable[int] | None = None) -> list[KV]:
        """High-level KVs of these chunks, or of all, in order."""
        wanted = range(len(self.manifest.chunks)) if chunks is None else list(chunks)
        plan = plan_together(self.manifest, "high", wanted)
        by_chunk = dict(zip((piece.chunk for piece in plan.pieces), await self._read(plan), strict=True))
        return [by_chunk[chunk] for chunk in wanted]

    async def low_many(self, chunk_indices: Iterable[int]) -> dict[int, KV]:
        """Low-level KVs of these chunks by their index, one ranged request each."""
        wanted = list(dict.fromkeys(chunk_indices))
        plan = plan_each(self.manifest, "low", wanted)
        return dict(zip(wanted, await self._read(plan), strict=True))

    async def low_found(self, chunk_indices: Iterable[int]) -> LowRead:
        """As :meth:`low_many`; chunks whose low KVs are damaged, lost or removed are reported, not raised."""
        wanted = list(dict.fromkeys(chunk_indices))
        found = await asyncio.gather(*(self.low_many([chunk]) for chunk in wanted), return_exceptions=True)
        result = LowRead({}, {})
        for chunk, outcome in zip(wanted, found, strict=True):
            if isinstance(outcome, CorruptDataError):
                result.missing[chunk] = str(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                result.found.update(outcome)
        return result

    async def _read(self, plan: ReadPlan) -> list[KV]:
        in_range = defaultdict(list)
        for number, piece in enumerate(plan.pieces):
            in_range[piece.range_number].append(number)

        def consumer(range_number: int) -> _Decoding:
            return _Decoding(self.manifest, plan, [plan.pieces[number] for number in in_range[range_number]])

        try:
            decoded = await self._fetcher.fetch_each(
                [(part, functools.partial(consumer, number)) for number, part in enumerate(plan.ranges)]
            )
        except FileNotFoundError as error:
            raise shard_missing(self.manifest, error) from error
        found = {
            number: kv
            for range_number, kvs in enumerate(decoded)
            for number, kv in zip(in_range[range_number], kvs, strict=True)
        }
        return [found[number] for number in range(len(plan.pieces))]


class _Decoding:
    """Makes tensors of a range's pieces. Where it is one piece, its checksum is taken as it arrives."""

    def __init__(self, manifest: Manifest, plan: ReadPlan, pieces: Sequence[Piece]) -> None:
        self._manifest, self._plan, self._pieces = manifest, plan, pieces
        self._hash = Checksum() if len(pieces) == 1 else None

    def piece(self, data: memoryview) -> None:
        if self._hash is not None:
            self._hash.update(data)

    def whole(self, data: Data) -> list[KV]:
        found = self._hash.hexdigest() if self._hash is not None else None
        return [decode_piece(self._manifest, self._plan, piece, data, found) for piece in self._pieces]


class BackgroundFetch:
    """A :class:`Fetcher` on an event loop of its own thread, for code that blocks: pass it to an ``IndexReader``."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="videox2l-fetch", daemon=True)
        self._thread.start()

    def __call__(self, ranges: Sequence[Range]) -> list[Data]:
        """As :meth:`Fetcher.fetch`."""
        return asyncio.run_coroutine_threadsafe(self._fetcher.fetch(ranges), self._loop).result()

    def close(self) -> None:
        """End the thread. Reads under way fail."""
        asyncio.run_coroutine_threadsafe(self._fetcher.aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> BackgroundFetch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
