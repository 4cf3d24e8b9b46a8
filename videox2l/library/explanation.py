"""What an answer rests on, tried out: the same question again without each chunk that was read in detail."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from typing import Any

from videox2l.answering import Answer, Span, TimeRange, Turn
from videox2l.answering.answer import to_json
from videox2l.answering.html import answer_html
from videox2l.answering.words import place
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.errors import ConfigError
from videox2l.library.asked import Asked

# Questions under way at once: as many as an engine decodes together by default.
_AT_ONCE = 16

# Cells of a bar in text, and px of one in HTML.
_CELLS, _PIXELS = 20, 240


@dataclass(frozen=True)
class Without:
    """The question asked again without ``span`` in detail: its gist was there instead.

    ``logprob``: natural logarithm of the probability that the first answer's text had then.
    """

    span: Span
    answer: Answer
    logprob: float


@dataclass(frozen=True, repr=False)
class Explanation:
    """An answer, the logarithm of the probability of its text, and what became of both without each chunk."""

    answer: Answer
    logprob: float
    without: tuple[Without, ...]

    def changed(self, without: Without) -> bool:
        """Whether the answer became another one."""
        return without.answer.text != self.answer.text

    def support(self, without: Without) -> float:
        """How much the chunk adds to the logarithm of the answer's probability; below 0: it speaks against it."""
        return self.logprob - without.logprob

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "answer": self.answer.to_dict(),
            "logprob": self.logprob,
            "without": [
                {
                    "span": dataclasses.asdict(without.span),
                    "answer": without.answer.to_dict(),
                    "logprob": without.logprob,
                    "changed": self.changed(without),
                    "support": self.support(without),
                }
                for without in self.without
            ],
        }

    def to_json(self, indent: int | None = 1) -> str:
        """As a JSON document, ``None`` for one line."""
        return to_json(self.to_dict(), indent)

    def lines(self) -> list[str]:
        """What each chunk does for the answer, one line each."""
        if not self.without:
            return ["nothing was read in detail, so there is nothing to leave out"]
        shares = self._shares()
        return [
            f"{_bar(share)} without {place(without.span)}: {self._verdict(without)}"
            for without, share in zip(self.without, shares, strict=True)
        ]

    def __str__(self) -> str:
        return "\n".join([str(self.answer), *self.lines()])

    def __repr__(self) -> str:
        changed = sum(map(self.changed, self.without))
        return f"<Explanation of {self.answer!r}: it changes without {changed} of {len(self.without)} chunks>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(place(without.span))}</td><td>{_html_bar(share)}</td>"
            f"<td>{escape(self._verdict(without))}</td></tr>"
            for without, share in zip(self.without, self._shares(), strict=True)
        )
        table = f"<table><thead><tr><th>without</th><th>support</th><th></th></tr></thead>{rows}</table>"
        return answer_html(self.answer) + (table if rows else f"<p>{escape(self.lines()[0])}</p>")

    def _shares(self) -> list[float]:
        """Each chunk's support as a share of the largest, -1 to 1."""
        supports = [self.support(without) for without in self.without]
        most = max(map(abs, supports), default=0.0)
        return [support / most if most > 0 else 0.0 for support in supports]

    def _verdict(self, without: Without) -> str:
        change = f"the answer becomes {without.answer.text!r}" if self.changed(without) else "the same answer"
        # Other chunks that could not be read either may be why.
        lost = f", {len(without.answer.degraded)} others lacked detail, too" if without.answer.degraded else ""
        return f"{change}, log probability {self.logprob:.3g} → {without.logprob:.3g}{lost}"


def explain(
    asked: Asked,
    question: str,
    selection: SelectionConfig | None,
    generation: GenerationConfig | None,
    time_range: TimeRange | None,
    history: Sequence[Turn] = (),
) -> Explanation:
    """Arguments as of :meth:`~videox2l.Video.explain`; ``history``: turns that the question is asked behind."""
    if generation is not None and generation.temperature > 0:
        raise ConfigError("explain compares answers, which have to be the same each time: temperature must be 0")

    def answered(selection: SelectionConfig | None) -> Answer:
        *_, answer = asked.events(question, selection, generation, time_range, history)
        assert isinstance(answer, Answer)
        return answer

    def without(span: Span) -> Without:
        others = _exactly(first.spans, but=span)
        answer = answered(others)
        return Without(span, answer, asked.logprob(question, first.text, others, time_range, history))

    first = answered(selection)
    logprob = asked.logprob(question, first.text, _exactly(first.spans), time_range, history)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="videox2l-explain") as threads:
        return Explanation(first, logprob, tuple(threads.map(without, first.spans)))


def _exactly(spans: tuple[Span, ...], but: Span | None = None) -> SelectionConfig:
    return SelectionConfig(",".join(str(span.chunk) for span in spans if span is not but) or "none")


def _bar(share: float) -> str:
    cells = round(abs(share) * _CELLS)
    return ("█" if share >= 0 else "▒") * cells + "·" * (_CELLS - cells)


def _html_bar(share: float) -> str:
    colour, said = ("#2a9d5c", "speaks for the answer") if share >= 0 else ("#d9822b", "speaks against the answer")
    wide = max(1.0, abs(share) * _PIXELS)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_PIXELS}" height="14" role="img" aria-label="{said}">'
        f'<rect width="{wide:.1f}" height="14" fill="{colour}"><title>{said}</title></rect></svg>'
    )
