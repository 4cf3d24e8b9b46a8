"""Scoring a video's chunks, beside the stock model's forward of the question over the same gist."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import torch

from pipelines.bench.bounds.sizes import PROMPT_TOKENS, Subject
from pipelines.bench.rows.report import Row, row_of
from pipelines.bench.rows.timing import Work, in_turn
from videox2l.config import SelectionConfig
from videox2l.kv import MixedKV, mix
from videox2l.models.cache import to_cache
from videox2l.scorers import FROM_GIST
from videox2l.selection import QuestionContext, select


def measure(subject: Subject, repeats: int, progress: Callable[[str], None]) -> Iterator[Row]:
    """Each scorer on a video of each length, its gist mixed."""
    model = subject.model
    numbers = itertools.count()
    for chunks in subject.size.lengths:
        progress(f"selection: {chunks} chunks")
        high = [subject.random_kv(subject.high_tokens()) for _ in range(chunks)]
        gist = mix(subject.random_kv(PROMPT_TOKENS), high, partial(model.rope_tables, 0))

        def ids() -> list[int]:
            return model.question_ids(f"{next(numbers):05d}: which scene comes right after the red circle scene?")

        def score(name: str, gist: MixedKV = gist, chunks: int = chunks) -> Work:
            context = QuestionContext(model, ids(), gist)
            return lambda: select(SelectionConfig(name, top_k=subject.size.detailed), chunks, context)

        def stock(gist: MixedKV = gist) -> Work:
            ids_BT, cache = torch.tensor([ids()], device=subject.device), to_cache(gist)
            return lambda: model.decoder.base_model(ids_BT, past_key_values=cache)

        for name in FROM_GIST:
            times = in_turn([partial(score, name), stock], subject.device, repeats)
            yield row_of(
                times,
                part="selection",
                case=f"{chunks} chunks, {name}",
                chunks=chunks,
                bound="the stock model over the question, behind the gist",
                more={"gist tokens": gist.tokens},
            )
