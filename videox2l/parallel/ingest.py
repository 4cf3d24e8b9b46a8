"""One video into an archive on a model that is spread over ranks: rank 0 decodes and writes, all of them prefill."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import cast

import numpy as np

from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.identity import VideoIdentity
from videox2l.kv import KV, LEVELS, ChunkKV, Level
from videox2l.kv.heads import join_heads
from videox2l.models import PrefillState, Timeline
from videox2l.models.memory import check_fits, free_bytes
from videox2l.models.retriever import Retriever
from videox2l.parallel.model import ShardedVideoXL
from videox2l.parallel.ranks import Ranks
from videox2l.parallel.retriever import share_retriever
from videox2l.prefill import PrefillReport, Progress, index_spec, prefill_chunks
from videox2l.store import DEFAULT_CODECS, Archive, IndexWriter
from videox2l.video import DecodedChunk, decode_chunks_isolated, plan_video_isolated


def ingest_over_ranks(
    model: ShardedVideoXL,
    archive: Archive | None,
    source: str | Path,
    *,
    sampling: SamplingConfig | None = None,
    compression: CompressionConfig | None = None,
    codecs: Mapping[Level, str] = DEFAULT_CODECS,
    replace: bool = False,
    progress: Progress | None = None,
    thumbnails: bool = True,
) -> tuple[VideoIdentity, bool]:
    """As :func:`~videox2l.prefill.ingest_video`, on every rank with the same arguments; whether there was work to do.

    The archive's files are those of a model on one device: KVs are joined on rank 0. Only rank 0 reads ``source``,
    looks at ``archive`` and calls ``progress``; errors of any of them are raised on every rank.
    """
    target = cast("Archive", archive)  # used where rank 0 leads, and not elsewhere
    sampling, compression = sampling or SamplingConfig(), compression or model.default_compression
    spec, ranks = index_spec(model, sampling, compression, codecs), model.ranks
    identity = ranks.lead(lambda: target.identify(source))
    if not replace and ranks.lead(lambda: target.has(identity.video_id, spec)):
        return identity, False
    plan = ranks.lead(lambda: plan_video_isolated(source, sampling, compression.frames_per_chunk))
    ranks.together(lambda: _check_memory(model, compression, len(plan.chunks)))
    with ExitStack() as stack:
        writer = ranks.together(
            lambda: stack.enter_context(target.create_index(identity, spec, replace=replace)) if ranks.leads else None
        )
        decoded = None
        if ranks.leads:
            decoded = stack.enter_context(closing(decode_chunks_isolated(source, plan.chunks, model.frame_format)))
        prefill_over_ranks(model, compression, decoded, len(plan.chunks), writer, progress, thumbnails=thumbnails)
        ranks.lead(lambda: _commit(cast("IndexWriter", writer), source))
    return identity, True


def _commit(writer: IndexWriter, source: str | Path) -> str:
    writer.check_source(source)
    return writer.commit().attempt


def _check_memory(model: ShardedVideoXL, compression: CompressionConfig, chunks: int) -> None:
    device, free = model.ranks.device, free_bytes(model.ranks.device)
    if free is not None and device.type == "cpu":
        free //= model.ranks.count  # most likely they share a machine
    check_fits(model.workload(compression, chunks), device, loaded=True, free=free)


def prefill_over_ranks(
    model: ShardedVideoXL,
    compression: CompressionConfig,
    decoded: Iterable[DecodedChunk] | None,
    total: int,
    writer: IndexWriter | None,
    progress: Progress | None = None,
    resume: PrefillState | None = None,
    thumbnails: bool = True,
    timeline: Timeline | None = None,
    retriever: Retriever | None = None,
) -> PrefillReport:
    """As :func:`~videox2l.prefill.prefill_chunks`. ``decoded`` and what follows ``total`` are rank 0's alone."""
    ranks = model.ranks
    joining = cast("IndexWriter", JoiningWriter(ranks, writer))
    chunks, state = share_chunks(ranks, decoded or ()), share_state(ranks, resume)
    shared = share_retriever(ranks, retriever)

    def tell(done: int, total: int) -> None:
        # What it raises, to stop, must stop all.
        ranks.lead(lambda: None if progress is None else progress(done, total))

    pictures = thumbnails and ranks.leads
    return prefill_chunks(model, compression, chunks, total, joining, tell, state, pictures, timeline, shared)


def share_state(ranks: Ranks, state: PrefillState | None) -> PrefillState | None:
    """Rank 0's ``state``, which only rank 0 has to read, on every rank: all heads, chunk by chunk."""
    stored = iter(state.chunks) if state is not None else iter(())

    def chunks() -> Iterator[ChunkKV]:
        while (kvs := ranks.lead(lambda: next(stored, None))) is not None:
            yield kvs

    prompt = ranks.lead(lambda: None if state is None else state.prompt)
    return None if prompt is None else PrefillState(prompt, chunks())


def share_chunks(ranks: Ranks, decoded: Iterable[DecodedChunk]) -> Iterator[DecodedChunk]:
    """Rank 0's decoded chunks on every rank, one by one; an error of its decoder is raised on all."""
    chunks = iter(decoded)
    while (item := ranks.lead(lambda: next(chunks, None))) is not None:
        yield item


class JoiningWriter:
    """The part of an :class:`~videox2l.store.IndexWriter` that a prefill uses: takes each rank's heads, stores all."""

    def __init__(self, ranks: Ranks, writer: IndexWriter | None) -> None:
        """``writer`` is rank 0's; a collective."""
        self._ranks = ranks
        self._writer = writer
        self.video, self.chunks = ranks.lead(self._begin)

    @property
    def _leader(self) -> IndexWriter:
        assert self._writer is not None, "rank 0 needs a writer"
        return self._writer

    def _begin(self) -> tuple[VideoIdentity, int]:
        self._leader.shared_out(self._ranks.count)
        return self._leader.video, self._leader.chunks

    def put_prompt(self, kv: KV) -> None:
        joined = join_over_ranks(self._ranks, kv)
        self._ranks.lead(lambda: self._leader.put_prompt(_present(joined)))

    def append(
        self,
        chunk_index: int,
        start_s: float,
        end_s: float,
        frames: int,
        kvs: ChunkKV,
        frames_checksum: str = "",
        thumbnail: bytes | None = None,
        vectors: np.ndarray | None = None,
    ) -> None:
        joined = {level: join_over_ranks(self._ranks, kvs[level]) for level in LEVELS}

        def store() -> int:
            whole = {level: _present(kv) for level, kv in joined.items()}
            self._leader.append(chunk_index, start_s, end_s, frames, whole, frames_checksum, thumbnail, vectors)
            return self._leader.chunks

        self.chunks = self._ranks.lead(store)


def join_over_ranks(ranks: Ranks, kv: KV) -> KV | None:
    """On rank 0 the KVs of all heads, of every rank's ``kv``; nothing on the others. A collective."""
    keys, values = ranks.gather(kv.keys_LHTD), ranks.gather(kv.values_LHTD)
    return join_heads([KV(*pair) for pair in zip(keys, values, strict=True)]) if ranks.leads else None


def _present(kv: KV | None) -> KV:
    assert kv is not None, "only rank 0 joins"
    return kv
