"""All questions about one video, under every condition."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import torch

from videox2l.answering import AnswerEngine, EngineConfig, ResidentVideo
from videox2l.answering.answer import Answer, TokenLogprob
from videox2l.answering.costs import Costs
from videox2l.config import GenerationConfig, SamplingConfig, SelectionConfig
from videox2l.errors import CorruptDataError, VideoX2LError
from videox2l.evaluation.benchmarks.benchmark import Benchmark, Choice, Item
from videox2l.evaluation.benchmarks.full_kv import FullKV, check_room
from videox2l.evaluation.benchmarks.records import SELECTED, Asking, Record
from videox2l.kv import Level
from videox2l.models import KVCompressibleModel
from videox2l.prefill.chunks import timeline_of
from videox2l.store import Archive, IndexReader
from videox2l.store.async_reader import BackgroundFetch
from videox2l.store.fetch import Fetcher
from videox2l.store.low_chunks import LowChunks
from videox2l.store.manifest import Manifest
from videox2l.video import Chunk, VideoPlan, decode_chunks_isolated, plan_video_isolated

# A benchmark has time: nothing is answered from high KVs because a storage is slow.
_PATIENCE_S = 3600.0

# Letters that are less likely than so many other tokens are no answer.
_TOP = 256

_CACHED_BYTES = 2**30


class Asker:
    """Asks a benchmark's questions of an archive's videos on one model. A context manager."""

    def __init__(
        self, model: KVCompressibleModel, archive: Archive, benchmark: Benchmark, asking: Asking, slots: int = 16
    ) -> None:
        self._model, self._archive, self._benchmark, self._asking = model, archive, benchmark, asking
        self._slots = slots
        self._fetch = BackgroundFetch(Fetcher(archive.storage))
        self._low = LowChunks(archive.url, self._fetch, memory_bytes=_CACHED_BYTES)
        likelihood = asking.scoring == "likelihood"
        self._generation = GenerationConfig(
            max_new_tokens=1 if likelihood else asking.max_new_tokens or benchmark.max_new_tokens,
            logprobs=_TOP if likelihood else None,
        )

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self._low.close()
        self._fetch.close()

    def ask(self, video_id: str, index_fp: str, source: Path, items: Sequence[Item]) -> list[Record]:
        """Answers to ``items`` by condition. ``source`` is decoded again for the full KV cache, which is not stored.

        :raises ArchiveError: there is no such index, or it cannot be read.
        """
        found = self._archive.open_index(video_id, index_fp=index_fp)
        video = ResidentVideo(self._model, IndexReader(self._archive.storage, found.manifest, self._fetch), self._low)
        selection, controls = self._asking.selection, self._asking.controls
        # Whole levels are mixed once and kept, whatever their size: the model needs that much in memory anyway.
        levels = sum(total.tokens for total in found.manifest.totals.values())
        kept = _CACHED_BYTES + 2 * levels * found.manifest.spec.bytes_per_token
        config = EngineConfig(slots=self._slots, mixed_bytes=kept, conversation_bytes=0, low_deadline_s=_PATIENCE_S)
        with AnswerEngine(self._model, config) as engine:
            selected = self._under(SELECTED, [selection] * len(items), engine, video, items)
            records = list(selected)
            if "random" in controls:
                counts = [len(record.chunks) + record.degraded for record in selected]
                by_chance = [SelectionConfig(select="random", top_k=count) for count in counts]
                records += self._under("random", by_chance, engine, video, items)
            if "high only" in controls:
                records += self._under("high only", [SelectionConfig(select="none")] * len(items), engine, video, items)
            if "low only" in controls:
                records += self._under("low only", [SelectionConfig(select="all")] * len(items), engine, video, items)
        if "full KV" in controls:
            records += self._full(video, source, items)
        return records

    def _under(
        self,
        condition: str,
        selections: Sequence[SelectionConfig],
        engine: AnswerEngine,
        video: ResidentVideo,
        items: Sequence[Item],
    ) -> list[Record]:
        def one(item: Item, selection: SelectionConfig) -> Record:
            def answer() -> Record:
                check_room(
                    self._model,
                    _least_tokens(video.manifest, selection),
                    item.prompt,
                    self._generation,
                    f"the video's memory, {condition}",
                )
                *_, whole = engine.stream(video, item.prompt, selection, self._generation)
                assert isinstance(whole, Answer)
                return dataclasses.replace(
                    self._record(item, condition, whole.text, list(whole.logprobs or ())),
                    chunks=tuple(span.chunk for span in whole.spans),
                    degraded=len(whole.degraded),
                    memory_tokens=whole.receipt.memory_tokens,
                    bytes_used=sum(whole.receipt.bytes_used.values()),
                )

            return _or_error(item, condition, answer)

        # One alone first: the memory that it leaves in the cache serves all that share it.
        first = one(items[0], selections[0])
        with ThreadPoolExecutor(self._slots) as threads:
            return [first, *threads.map(one, items[1:], selections[1:])]

    def _full(self, video: ResidentVideo, source: Path, items: Sequence[Item]) -> list[Record]:
        manifest = video.manifest
        tokens = manifest.prompt.tokens + self._model.dense_tokens_per_frame * sum(e.frames for e in manifest.chunks)
        memory: FullKV | None = None

        def answer(item: Item) -> Record:
            nonlocal memory
            check_room(self._model, tokens, item.prompt, self._generation, "the uncompressed video")
            if memory is None:
                chunks = _plan(manifest, source).chunks
                seen = _seen(self._model, chunks, source)
                memory = FullKV(self._model, video.prompt(Costs()), seen, timeline_of(chunks))
            text, logprobs = memory.ask(item.prompt, self._generation)
            record = self._record(item, "full KV", text, logprobs)
            return dataclasses.replace(record, memory_tokens=memory.tokens)

        records: list[Record] = []
        for item in items:
            record = _or_error(item, "full KV", lambda item=item: answer(item))  # type: ignore[misc]
            records.append(record)
        return records

    def _record(self, item: Item, condition: str, text: str, logprobs: Sequence[TokenLogprob]) -> Record:
        if self._asking.scoring == "likelihood":
            choice = _likeliest(logprobs, item)
        else:
            choice = self._benchmark.parse(text, item)
        return Record(
            item.id,
            condition,
            item.prompt,
            item.answer,
            text,
            choice.letter,
            choice.guessed,
            choice.letter == item.answer if item.answer else None,
        )


def _least_tokens(manifest: Manifest, selection: SelectionConfig) -> int:
    """Tokens that a memory has at least, so that one far too large is never begun."""
    level: Level = "low" if selection.select == "all" else "high"
    return manifest.prompt.tokens + sum(
        stored.tokens for chunk in manifest.chunks if (stored := chunk.levels.get(level)) is not None
    )


def _likeliest(logprobs: Sequence[TokenLogprob], item: Item) -> Choice:
    candidates = logprobs[0].top if logprobs else ()
    letters = (token.token.strip() for token in candidates)
    return Choice(next((letter for letter in letters if letter and letter in item.letters), ""))


def _or_error(item: Item, condition: str, answer: Callable[[], Record]) -> Record:
    """The record, or one that says why there is none."""
    try:
        return answer()
    except CorruptDataError:
        raise  # of this video nothing can be said
    except VideoX2LError as error:
        why = str(error)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        why = "the device's memory does not hold it"
    return Record(item.id, condition, item.prompt, item.answer, error=why)


def _plan(manifest: Manifest, source: Path) -> VideoPlan:
    """The plan that the index was made by."""
    sampling = SamplingConfig(**dict(manifest.spec.sampling))
    frames_per_chunk = int(manifest.spec.compression["frames_per_chunk"])
    return plan_video_isolated(source, sampling, frames_per_chunk)


def _seen(model: KVCompressibleModel, chunks: Sequence[Chunk], source: Path) -> Iterator[torch.Tensor]:
    """Visual tokens of the frames that were prefilled, chunk by chunk."""
    with closing(decode_chunks_isolated(source, chunks, model.frame_format)) as decoded:
        for item in decoded:
            yield model.encode_frames(torch.from_numpy(item.frames_FHWC))
