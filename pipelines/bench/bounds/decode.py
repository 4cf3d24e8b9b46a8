"""Decoding one answer, beside the stock model's own loop and beside reading weights and KVs once a token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from pipelines.bench.bounds.first_token import AskedVideo, random_video
from pipelines.bench.bounds.sizes import Subject
from pipelines.bench.rows.report import Row, row_of
from pipelines.bench.rows.timing import Prepare, Seconds, Work, in_turn
from videox2l.answering import Answer, AnswerEngine, EngineConfig, ResidentVideo
from videox2l.config import GenerationConfig
from videox2l.kv import MixedKV
from videox2l.models.cache import to_cache

TOKENS = 32

# Enough that no processor's cache holds it.
_READ_BYTES = {"cuda": 2**32, "cpu": 2**28}


def measure(subject: Subject, folder: Path, repeats: int, progress: Callable[[str], None]) -> Iterator[Row]:
    """:data:`TOKENS` tokens behind the first one, over a memory of each length."""
    for chunks in subject.size.lengths:
        progress(f"decode: {chunks} chunks")
        with random_video(subject, folder / f"decode-{chunks}", chunks) as asked:
            yield from _measure(asked, repeats)


def _measure(asked: AskedVideo, repeats: int) -> Iterator[Row]:
    subject, memory = asked.subject, asked.memory()
    model, video = subject.model, ResidentVideo(subject.model, asked.reader)
    buffer = torch.zeros(_READ_BYTES.get(subject.device.type, _READ_BYTES["cpu"]), dtype=torch.uint8).to(subject.device)
    words = buffer.view(torch.int64)
    with AnswerEngine(model, EngineConfig(conversation_bytes=0, mixed_bytes=2 * memory.nbytes)) as engine:
        ways: list[Prepare] = [
            partial(_own, asked, engine, video),
            partial(_stock, asked, memory),
            lambda: lambda: words.sum().item(),
        ]
        times = in_turn(ways, subject.device, repeats)
    # All weights but the embeddings, of which a token takes one row; tied ones are the last product's, and are read.
    decoder = model.decoder
    embeddings = decoder.get_input_embeddings().weight
    tied = decoder.get_output_embeddings().weight is embeddings
    weights = sum(parameter.nbytes for parameter in decoder.parameters()) - (0 if tied else embeddings.nbytes)
    step_bytes = weights + memory.nbytes
    bandwidth = buffer.nbytes / times.median(2)
    least = TOKENS * step_bytes / bandwidth
    yield row_of(
        times,
        part="decode",
        case=f"{asked.chunks} chunks, {TOKENS} tokens",
        chunks=asked.chunks,
        bound="the stock model's loop behind the same cache",
        more={"tokens/s": TOKENS / times.median()},
    )
    yield Row(
        part="decode",
        case=f"{asked.chunks} chunks, {TOKENS} tokens, bandwidth",
        chunks=asked.chunks,
        seconds=times.median(),
        bound="reading weights and memory once a token",
        bound_s=least,
        ratio=times.median() / least,
        peak_bytes=times.peak,
        more={"GB/s": bandwidth / 1e9, "MB a token": step_bytes / 1e6},
    )


def _own(asked: AskedVideo, engine: AnswerEngine, video: ResidentVideo) -> Work:
    question = asked.question()

    def work() -> Seconds:
        *_, answer = engine.stream(video, question, asked.selection, GenerationConfig(1 + TOKENS))
        assert isinstance(answer, Answer)
        assert answer.receipt.answer_tokens == 1 + TOKENS
        return Seconds(answer.receipt.milliseconds["decode"] / 1000)

    return work


def _stock(asked: AskedVideo, memory: MixedKV) -> Work:
    model, device = asked.subject.model, asked.subject.device
    ids_BT = torch.tensor([model.question_ids(asked.question())], device=device)
    cache = to_cache(memory)
    first_BT = model.decoder(ids_BT, past_key_values=cache, logits_to_keep=1).logits[:, -1:].argmax(-1)

    def loop() -> int:
        next_BT = first_BT
        for _ in range(TOKENS):
            next_BT = model.decoder(next_BT, past_key_values=cache, logits_to_keep=1).logits[:, -1:].argmax(-1)
            token = int(next_BT.item())  # looked at each time, as whoever writes the answer out does
        return token

    return loop
