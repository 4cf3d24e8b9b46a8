"""The engine in this process: the first token against the bare model, and many answers against one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from transformers import DynamicCache

from pipelines.bench.rows.timing import Prepare, Seconds, Times, Work, in_turn
from videox2l.answering import Answer, AnswerEngine, EngineConfig, ResidentVideo
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.kv import MixedKV, mix
from videox2l.models import KVCompressibleModel
from videox2l.models.cache import to_cache
from videox2l.store import IndexReader

ASKERS = 16
ANSWER_TOKENS = 64

# Chunks in detail, as a scorer chooses by default.
_DETAILED = (1, 2)

# Named rather than found.
_NAMED = SelectionConfig(",".join(map(str, _DETAILED)))


def measure_first_token(
    model: KVCompressibleModel, reader: IndexReader, selection: SelectionConfig, repeats: int
) -> Times:
    """Of a warm question, by its receipt; the second way is one forward pass of the stock model over the question,
    behind a cache of the same KVs."""
    video, memory, numbers = ResidentVideo(model, reader), _memory(model, reader), itertools.count()

    def question() -> str:
        return f"{next(numbers)}: which scene comes right after the red circle scene?"

    def stock() -> Work:
        ids_BT, cache = torch.tensor([model.question_ids(question())]), to_cache(memory)
        return lambda: model.decoder(ids_BT, past_key_values=cache, logits_to_keep=1).logits[0, -1].argmax().item()

    with AnswerEngine(model, EngineConfig(conversation_bytes=0)) as engine:

        def asked() -> Work:
            text = question()

            def work() -> Seconds:
                *_, answer = engine.stream(video, text, selection, GenerationConfig(1))
                assert isinstance(answer, Answer)
                return Seconds(answer.receipt.milliseconds["first_token"] / 1000)

            return work

        return in_turn([asked, stock], model.decoder.device, repeats)


def first_tokens(model: KVCompressibleModel, reader: IndexReader, repeats: int) -> dict[str, Times]:
    """With chunks that are named, and with chunks that the question's attention finds first."""
    return {
        "chunks named": measure_first_token(model, reader, _NAMED, repeats),
        "chunks found": measure_first_token(model, reader, SelectionConfig(), repeats),
    }


def measure_together(model: KVCompressibleModel, readers: Sequence[IndexReader], repeats: int) -> Times:
    """Seconds a token of :data:`ASKERS`, of one asker, and of the stock model that answers as many in one batch.

    Answers have :data:`ANSWER_TOKENS`. Each asker asks about the next of ``readers``.
    """
    videos = [ResidentVideo(model, reader) for reader in readers]
    memories = [_memory(model, readers[number % len(readers)]) for number in range(ASKERS)]
    stop_ids, model.stop_ids = model.stop_ids, frozenset()  # nothing ends an answer early
    try:
        with AnswerEngine(model, EngineConfig(slots=ASKERS)) as engine, ThreadPoolExecutor(ASKERS) as askers:
            generation = GenerationConfig(ANSWER_TOKENS)

            turns = itertools.count()

            def ask(number: int) -> None:
                # Different from the first token on, or KVs of an earlier question would serve.
                question = f"{next(turns)}: what happens?"
                for _ in engine.stream(videos[number % len(videos)], question, _NAMED, generation):
                    pass

            def asked(count: int) -> Work:
                return lambda: _a_token(lambda: list(askers.map(ask, range(count))), count * ANSWER_TOKENS)

            def stock() -> Work:
                loop = stock_batch(model, memories, f"{next(turns)}: what happens?")
                return lambda: _a_token(loop, ASKERS * ANSWER_TOKENS)

            ways: list[Prepare] = [partial(asked, ASKERS), partial(asked, 1), stock]
            return in_turn(ways, model.decoder.device, repeats)
    finally:
        model.stop_ids = stop_ids


def stock_batch(model: KVCompressibleModel, memories: Sequence[MixedKV], question: str) -> Work:
    """The stock model's own loop over one batch: a question behind each of ``memories``, which are equally long.

    Its result: :data:`ANSWER_TOKENS` tokens for each of them.
    """
    ids_BT = torch.tensor([model.question_ids(question)] * len(memories), device=model.decoder.device)
    cache = DynamicCache()
    for layer in range(len(memories[0].keys_LHTD)):
        keys_BHTD = torch.stack([memory.keys_LHTD[layer] for memory in memories])
        cache.update(keys_BHTD, torch.stack([memory.values_LHTD[layer] for memory in memories]), layer)

    def loop() -> list[tuple[int, ...]]:
        next_BT, steps = ids_BT, list[list[int]]()
        for _ in range(ANSWER_TOKENS):
            next_BT = model.decoder(next_BT, past_key_values=cache, logits_to_keep=1).logits[:, -1:].argmax(-1)
            steps.append(next_BT[:, 0].tolist())  # looked at each time, as whoever writes the answers out does
        return list(zip(*steps, strict=True))

    return loop


def _memory(model: KVCompressibleModel, reader: IndexReader) -> MixedKV:
    low = reader.low_many(_DETAILED)
    parts = [low.get(chunk, high) for chunk, high in enumerate(reader.high())]
    return mix(reader.prompt(), parts, partial(model.rope_tables, 0))


def _a_token(work: Work, tokens: int) -> Seconds:
    began = time.perf_counter()
    work()
    return Seconds((time.perf_counter() - began) / tokens)
