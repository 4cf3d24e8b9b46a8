"""What rank processes run: the library's own calls, on every rank alike, with plain values in and out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import DynamicCache

from tests.archives import COMPRESSION, random_chunks
from videox2l.answering import Answer
from videox2l.answering.decode import generate
from videox2l.config import CompressionConfig, GenerationConfig, SamplingConfig, SelectionConfig
from videox2l.errors import CheckpointError, ConfigError, TruncatedVideoError
from videox2l.identity import VideoIdentity
from videox2l.kv import KV, ChunkKV, MixedKV, mix
from videox2l.models import KVCompressibleModel, RelevanceHeads, load_model
from videox2l.models.cache import to_cache
from videox2l.models.retriever import Retriever, load_retriever
from videox2l.models.retriever.embeddings import EmbeddingRetriever
from videox2l.parallel import (
    Ranks,
    ShardedVideoXL,
    ask_over_ranks,
    load_model_offloaded,
    load_share,
    prefill_over_ranks,
    resident_over_ranks,
)
from videox2l.prefill import index_spec, prefill_chunks
from videox2l.prefill.append import stored_state
from videox2l.selection import QuestionContext
from videox2l.selection.select import SCORERS
from videox2l.store import Archive, IndexWriter
from videox2l.video import DecodedChunk

SINGLE_PASS = dataclasses.replace(COMPRESSION, prefill="single-pass")
CHUNKS = 4
QUESTION = "What happens?"


@functools.cache
def share(checkpoint: Path, ranks: Ranks, dtype: str = "float32") -> ShardedVideoXL:
    return load_share(str(checkpoint), ranks, dtype)


def load(checkpoint: Path) -> KVCompressibleModel:
    """The same on one device."""
    return load_model(str(checkpoint), device="cpu")


def placement(ranks: Ranks, checkpoint: Path) -> tuple[int, range, range]:
    """Which heads a rank has."""
    model = share(checkpoint, ranks)
    return model.network.vst.kv_heads, range(model.head_range.start, model.head_range.stop), model.query_heads


def weight_bytes(ranks: Ranks, checkpoint: Path) -> int:
    """Of those that are on the rank's device. DeepSpeed keeps its shares as plain tensors, too."""
    network = share(checkpoint, ranks).network
    return sum(weight.nbytes for weight in network.state_dict().values() if weight.device == ranks.device)


def frequencies(ranks: Ranks, checkpoint: Path, dtype: str) -> torch.Tensor:
    return share(checkpoint, ranks, dtype).decoder.model.rotary_emb.inv_freq


def prefill(ranks: Ranks, checkpoint: Path, dtype: str = "float32") -> tuple[KV, list[ChunkKV]]:
    return prefill_with(share(checkpoint, ranks, dtype))


def prefill_in_one_pass(ranks: Ranks, checkpoint: Path) -> tuple[KV, list[ChunkKV]]:
    return prefill_with(share(checkpoint, ranks), SINGLE_PASS)


def prefill_with(model: KVCompressibleModel, compression: CompressionConfig = COMPRESSION) -> tuple[KV, list[ChunkKV]]:
    """Both levels of a random video, vision tower included."""
    running = model.start_prefill(compression)
    kvs = []
    for item in random_chunks(model, CHUNKS):
        tokens_TN = model.encode_frames(torch.from_numpy(item.frames_FHWC))
        kvs.append(dict(running.append(tokens_TN, last=item.chunk.index == CHUNKS - 1)))
    return running.prompt, kvs


def resume(ranks: Ranks, checkpoint: Path, archive: str, kept: int) -> None:
    """Go on behind the first chunks of a stored video, which rank 0 alone can read, and take its place."""
    model = share(checkpoint, ranks)
    if not ranks.leads:
        prefill_over_ranks(model, COMPRESSION, None, CHUNKS, None)
        return
    stored = Archive.open(archive).open_index(VIDEO.video_id)
    rest = list(random_chunks(model, CHUNKS))[kept:]
    with Archive.open(archive).extend_index(stored.manifest, VIDEO, kept) as writer:
        prefill_over_ranks(model, COMPRESSION, rest, CHUNKS, writer, resume=stored_state(stored, kept))
        writer.commit()


class StopError(Exception):
    """Enough."""


def stopped(ranks: Ranks, checkpoint: Path, archive: str) -> None:
    """Rank 0 is told to stop behind its second chunk."""

    def progress(done: int, total: int) -> None:
        if done == 2:
            raise StopError(f"{done} of {total}")

    model = share(checkpoint, ranks)
    if not ranks.leads:
        prefill_over_ranks(model, COMPRESSION, None, CHUNKS, None)
        return
    spec = index_spec(model, SamplingConfig(), COMPRESSION)
    with Archive.open(archive, create=True).create_index(VIDEO, spec) as writer:
        prefill_over_ranks(model, COMPRESSION, random_chunks(model, CHUNKS), CHUNKS, writer, progress)


def answer(ranks: Ranks, checkpoint: Path, parts: Sequence[KV]) -> tuple[torch.Tensor, list[int]]:
    """``parts`` hold all heads: the prompt's KVs and one for each chunk."""
    model = share(checkpoint, ranks)
    return answer_with(model, [model.own_heads(part) for part in parts])


@torch.inference_mode()
def answer_with(model: KVCompressibleModel, parts: Sequence[KV]) -> tuple[torch.Tensor, list[int]]:
    """Logits of every question token ``[T, V]``, and greedy tokens."""
    ids = model.question_ids(QUESTION)
    logits_TV = model.decoder(torch.tensor([ids]), past_key_values=_cache(model, parts)).logits[0]
    tokens = generate(model.decoder, ids, _cache(model, parts), GenerationConfig(max_new_tokens=12), frozenset())
    return logits_TV, [pick.token for pick in tokens]


def _cache(model: KVCompressibleModel, parts: Sequence[KV]) -> DynamicCache:
    return to_cache(_mixed(model, parts))


@torch.inference_mode()
def _mixed(model: KVCompressibleModel, parts: Sequence[KV]) -> MixedKV:
    return mix(parts[0], parts[1:], lambda count, dtype: model.rope_tables(0, count, dtype))


def scores(ranks: Ranks, checkpoint: Path, parts: Sequence[KV], heads: RelevanceHeads | None) -> list[float]:
    model = share(checkpoint, ranks)
    return scores_with(model, [model.own_heads(part) for part in parts], heads)


def scores_with(model: KVCompressibleModel, parts: Sequence[KV], heads: RelevanceHeads | None) -> list[float]:
    before, model.relevance_heads = model.relevance_heads, heads
    try:
        return SCORERS["attention"](QuestionContext(model, model.question_ids(QUESTION), _mixed(model, parts)))
    finally:
        model.relevance_heads = before


def refused_scorers(ranks: Ranks, checkpoint: Path, parts: Sequence[KV]) -> set[str]:
    """Those that a model over several ranks does not take."""
    model = share(checkpoint, ranks)
    context = QuestionContext(
        model, model.question_ids(QUESTION), _mixed(model, [model.own_heads(part) for part in parts])
    )
    found = set()
    for name in sorted(SCORERS):  # in the same order on all ranks, as one of them talks to the others
        try:
            SCORERS[name](context)
        except ConfigError as error:
            if "needs all heads" in str(error):
                found.add(name)
    return found


def ingest(ranks: Ranks, checkpoint: Path, archive: str, damaged: bool = False, retriever: str | None = None) -> None:
    """Prefill a random video and commit it; ``damaged``: its decoder gives up after two chunks."""
    model = share(checkpoint, ranks)
    if not ranks.leads:
        prefill_over_ranks(model, COMPRESSION, None, CHUNKS, None)
        return
    decoded = random_chunks(model, CHUNKS)
    spec = index_spec(model, SamplingConfig(), COMPRESSION)
    with Archive.open(archive, create=True).create_index(VIDEO, spec) as writer:
        chosen = _load_retriever(retriever, model, writer)
        decoded = _give_up(decoded) if damaged else decoded
        prefill_over_ranks(model, COMPRESSION, decoded, CHUNKS, writer, retriever=chosen)
        writer.commit()


def ingest_with(model: KVCompressibleModel, archive: str, retriever: str | None = None) -> None:
    spec = index_spec(model, SamplingConfig(), COMPRESSION)
    with Archive.open(archive, create=True).create_index(VIDEO, spec) as writer:
        chosen = _load_retriever(retriever, model, writer)
        prefill_chunks(model, COMPRESSION, random_chunks(model, CHUNKS), CHUNKS, writer, retriever=chosen)
        writer.commit()


def _load_retriever(name: str | None, model: KVCompressibleModel, writer: IndexWriter) -> Retriever | None:
    retriever = None if name is None else load_retriever(name, model)
    writer.retrieved_by(None if retriever is None else retriever.identity)
    return retriever


class ShortSighted(EmbeddingRetriever):
    """Sees nothing."""

    def of_chunk(self, frames_FHWC: np.ndarray, visual_tokens_TN: torch.Tensor) -> np.ndarray:  # noqa: ARG002
        raise CheckpointError(f"{len(frames_FHWC)} frames are too much")


def ingest_short_sighted(ranks: Ranks, checkpoint: Path, archive: str) -> None:
    """Rank 0's retriever fails."""
    model = share(checkpoint, ranks)
    if not ranks.leads:
        prefill_over_ranks(model, COMPRESSION, None, CHUNKS, None)
        return
    retriever = ShortSighted(model)
    spec = index_spec(model, SamplingConfig(), COMPRESSION)
    with Archive.open(archive, create=True).create_index(VIDEO, spec) as writer:
        writer.retrieved_by(retriever.identity)
        prefill_over_ranks(model, COMPRESSION, random_chunks(model, CHUNKS), CHUNKS, writer, retriever=retriever)


VIDEO = VideoIdentity("7" * 32, "random.mp4", "file:///videos/random.mp4", 1, "7" * 64)


def _give_up(decoded: Sequence[DecodedChunk]):
    for number, item in enumerate(decoded):
        if number == 2:
            raise TruncatedVideoError("random.mp4 ends after 20 s")
        yield item


def ask(
    ranks: Ranks,
    checkpoint: Path,
    archives: Sequence[str],
    selection: SelectionConfig | None = None,
    generation: GenerationConfig | None = None,
) -> Answer:
    """Each rank reads an archive of its own."""
    model = share(checkpoint, ranks)
    reader = Archive.open(archives[ranks.rank]).open_index(VIDEO.video_id)
    video = resident_over_ranks(model, reader)
    generation = generation or GenerationConfig(max_new_tokens=12)
    return dataclasses.replace(ask_over_ranks(model, video, QUESTION, selection, generation))


class StubbornError(Exception):
    """Cannot be pickled."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(f"{code}: {words}")


def fail(ranks: Ranks, kind: str, error: Exception | None) -> str:
    """Fail on one rank only."""

    def raise_it() -> str:
        raise error if error is not None else StubbornError(7, "out of order")

    if kind == "lead":
        return ranks.lead(raise_it)
    if kind == "result":
        return ranks.lead(lambda: (part for part in "abc"))
    return ranks.together(raise_it if ranks.rank == 1 else lambda: "fine")


def wait_for_the_other(ranks: Ranks) -> None:
    ranks.exchange("still there?")


def plain_and_offloaded(ranks: Ranks, checkpoint: Path, dtype: str) -> tuple[Results, Results, int]:
    """What both kinds of model make of a video and a question; and how many weights the latter keeps between calls.

    In one process, as the kernels that a CPU chooses for bfloat16 differ from process to process.
    """
    plain = results(load_model(str(checkpoint), device="cpu", dtype=dtype))
    model = load_model_offloaded(str(checkpoint), device="cpu", dtype=dtype)
    return plain, results(model), sum(parameter.numel() for parameter in model.decoder.parameters())


@dataclasses.dataclass(frozen=True)
class Results:
    """Of a random video, prefilled exactly and in a single pass, and a question about it."""

    prompt: KV
    chunks: list[ChunkKV]
    logits_TV: torch.Tensor
    tokens: list[int]
    scores: list[float]


def results(model: KVCompressibleModel) -> Results:
    prompt, chunks = prefill_with(model)
    parts = [prompt, *(kvs["high"] for kvs in chunks)]
    heads = RelevanceHeads(((1, 3), (2, 0)))
    chunks = [*chunks, *prefill_with(model, SINGLE_PASS)[1]]
    return Results(prompt, chunks, *answer_with(model, parts), scores_with(model, parts, heads))


def offload_to(ranks: Ranks, checkpoint: Path, where: str) -> None:
    load_model_offloaded(str(checkpoint), offload=where, device="cpu")
