"""One video's way to the model: what questions, conversations and explanations are made of."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from videox2l.answering import Answer, AnswerEngine, TextDelta, TimeRange, Turn
from videox2l.answering.residents import ResidentVideos
from videox2l.config import GenerationConfig, SelectionConfig


class Running(NamedTuple):
    """A model that answers, and the videos beside it."""

    engine: AnswerEngine
    residents: ResidentVideos


@dataclass(frozen=True)
class Asked:
    """A video of a library, by its id and, where it has several, its index. ``start`` loads the model if need be."""

    start: Callable[[], Running]
    video_id: str
    index: str | None

    def events(
        self,
        question: str,
        selection: SelectionConfig | None,
        generation: GenerationConfig | None,
        time_range: TimeRange | None,
        history: Sequence[Turn] = (),
    ) -> Generator[TextDelta | Answer, None, None]:
        """As of :meth:`AnswerEngine.stream`."""
        engine, residents = self.start()
        with residents.use(self.video_id, self.index) as video:
            yield from engine.stream(video, question, selection, generation, time_range, history)

    def logprob(
        self,
        question: str,
        answer: str,
        selection: SelectionConfig | None,
        time_range: TimeRange | None,
        history: Sequence[Turn] = (),
    ) -> float:
        """As of :meth:`AnswerEngine.logprob`."""
        engine, residents = self.start()
        with residents.use(self.video_id, self.index) as video:
            return engine.logprob(video, question, answer, selection, time_range, history)
