"""Answers beside their bounds: the stock model, one asker, and the engine without HTTP."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.bench.rows.report import Report, Row, Section, Setup, join, row_of
from pipelines.bench.serving.engine import ASKERS
from pipelines.bench.serving.report import ModelFigures, ServingFigures

_FIRST = "the stock model over the question, behind the same cache"

# What a token of many askers is held against, in the order of the ways that were measured.
_OTHERS = {"one": "a token of one asker", "a batch": f"a token of the stock model's loop over a batch of {ASKERS}"}


def report(figures: ServingFigures) -> Report:
    """Rows of both models, and all figures as details. What archives larger than the caches take has no bound."""
    sections = [Section(_setup(model), tuple(_rows(model))) for model in figures.models]
    overhead = row_of(
        figures.overhead,
        part="serve",
        case=f"a question of one token over HTTP, videos {figures.zipf.videos}",
        chunks=figures.zipf_chunks,
        bound="the same in process",
        more={"ms added": 1000 * (figures.overhead.median() - figures.overhead.median(1))},
    )
    # Asked of the first of the models.
    sections.append(Section(_setup(figures.models[0]), (overhead,)))
    return join([Report(tuple(sections), {"serve": figures.to_dict()})])


def _setup(model: ModelFigures) -> Setup:
    return Setup(model.name, "cpu", model.dtype, threads=1)


def _rows(model: ModelFigures) -> Iterator[Row]:
    for how, times in model.first_tokens.items():
        case = f"first token, {how}"
        yield row_of(times, part="serve", case=case, chunks=model.chunks, bound=_FIRST)
    for how, times in model.together.items():
        more = {"tokens/s": 1 / times.median()}
        for way, (other, bound) in zip(range(1, len(times.seconds)), _OTHERS.items(), strict=False):
            case = f"{ASKERS} askers {how}, beside {other}"
            yield row_of(times, part="serve", case=case, chunks=model.chunks, bound=bound, way=way, more=more)
