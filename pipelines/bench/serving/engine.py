"""The engine in this process: the first token against the bare model, and many answers against one."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from videox2l.answering import Answer, AnswerEngine, EngineConfig, ResidentVideo
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.kv import mix
from videox2l.models import KVCompressibleModel
from videox2l.models.cache import to_cache
from videox2l.store import IndexReader

ASKERS = 16
ANSWER_TOKENS = 64

# Chunks in detail, as a scorer chooses by default.
_DETAILED = (1, 2)


@dataclass(frozen=True)
class FirstToken:
    """Medians in milliseconds, and medians of the ratios, each of two measured one after the other.

    ``bare_ms``: one forward pass of the stock model over the question, behind a cache of the same KVs. ``chosen_ms``: a
    warm question whose chunks are named; ``scored_ms``: one whose chunks are found by the question's attention first.
    """

    bare_ms: float
    chosen_ms: float
    scored_ms: float
    chosen_ratio: float
    scored_ratio: float


@dataclass(frozen=True)
class Together:
    """Tokens a second of one asker and of :data:`ASKERS`; ``ratio`` is the median over pairs of both."""

    one: float
    many: float
    ratio: float


def measure_first_token(model: KVCompressibleModel, reader: IndexReader, repeats: int) -> FirstToken:
    """Of a warm question, by its receipt."""
    video = ResidentVideo(model, reader)
    low = reader.low_many(_DETAILED)
    parts = [low.get(chunk, high) for chunk, high in enumerate(reader.high())]
    memory = mix(reader.prompt(), parts, lambda count, dtype: model.rope_tables(0, count, dtype))
    named = SelectionConfig(",".join(map(str, _DETAILED)))
    rows: list[tuple[float, float, float]] = []
    with AnswerEngine(model, EngineConfig(conversation_bytes=0)) as engine:

        def bare(question: str) -> float:
            ids_BT = torch.tensor([model.question_ids(question)])
            cache = to_cache(memory)
            began = time.perf_counter()
            with torch.inference_mode():
                model.decoder(ids_BT, past_key_values=cache, logits_to_keep=1).logits[0, -1].argmax().item()
            return (time.perf_counter() - began) * 1000

        def asked(question: str, selection: SelectionConfig) -> float:
            *_, answer = engine.stream(video, question, selection, GenerationConfig(1))
            assert isinstance(answer, Answer)
            return answer.receipt.milliseconds["first_token"]

        for number in range(repeats + 3):  # the first ones warm up
            question = f"{number}: which scene comes right after the red circle scene?"
            rows.append((bare(question), asked(question, named), asked(question, SelectionConfig())))
    bare_ms, chosen_ms, scored_ms = zip(*rows[3:], strict=True)
    return FirstToken(
        statistics.median(bare_ms),
        statistics.median(chosen_ms),
        statistics.median(scored_ms),
        _median_ratio(chosen_ms, bare_ms),
        _median_ratio(scored_ms, bare_ms),
    )


def measure_together(model: KVCompressibleModel, readers: Sequence[IndexReader], repeats: int) -> Together:
    """Answers of :data:`ANSWER_TOKENS`, by askers that each ask about the next of ``readers``."""
    videos = [ResidentVideo(model, reader) for reader in readers]
    stop_ids, model.stop_ids = model.stop_ids, frozenset()  # nothing ends an answer early
    try:
        with AnswerEngine(model, EngineConfig(slots=ASKERS)) as engine, ThreadPoolExecutor(ASKERS) as askers:
            generation, selection = GenerationConfig(ANSWER_TOKENS), SelectionConfig("1,2")

            turns = itertools.count()

            def ask(number: int) -> None:
                # Different from the first token on, or KVs of an earlier question would serve.
                question = f"{next(turns)}: what happens?"
                for _ in engine.stream(videos[number % len(videos)], question, selection, generation):
                    pass

            def speed(count: int) -> float:
                began = time.perf_counter()
                list(askers.map(ask, range(count)))
                return count * ANSWER_TOKENS / (time.perf_counter() - began)

            speed(ASKERS)
            pairs = [(speed(1), speed(ASKERS)) for _ in range(repeats)]
    finally:
        model.stop_ids = stop_ids
    one, many = zip(*pairs, strict=True)
    return Together(statistics.median(one), statistics.median(many), _median_ratio(many, one))


def _median_ratio(a: Sequence[float], b: Sequence[float]) -> float:
    return statistics.median(x / y for x, y in zip(a, b, strict=True))
