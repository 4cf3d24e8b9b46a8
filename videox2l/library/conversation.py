"""Questions that may refer to earlier ones."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from videox2l.answering import Answer, Turn
from videox2l.answering.time_range import Moment
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.errors import QuestionError
from videox2l.library.arguments import as_range, as_selection
from videox2l.library.asked import Asked
from videox2l.library.explanation import Explanation, explain
from videox2l.library.stream import AnswerStream

if TYPE_CHECKING:
    from videox2l.library.video import Video


class Conversation:
    """A conversation about one video. Begin it with :meth:`Video.conversation`.

    Each question is asked behind the turns before it, and chooses its own chunks. As long as the same are read, KVs of
    earlier turns are used again. An answer that was stopped before its end is no turn.
    """

    def __init__(self, video: Video, asked: Asked) -> None:
        self.video, self._asked = video, asked
        self._answers: list[Answer] = []
        self._lock = threading.Lock()

    @property
    def answers(self) -> tuple[Answer, ...]:
        """All complete answers so far, with their questions."""
        with self._lock:
            return tuple(self._answers)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What the next question is asked behind."""
        return tuple(Turn(answer.question, answer.text) for answer in self.answers)

    def ask(
        self,
        question: str,
        *,
        selection: SelectionConfig | str | None = None,
        generation: GenerationConfig | None = None,
        start: Moment | str | None = None,
        end: Moment | str | None = None,
    ) -> Answer:
        """As :meth:`Video.ask`, behind the turns so far."""
        return self.stream(question, selection=selection, generation=generation, start=start, end=end).answer

    def stream(
        self,
        question: str,
        *,
        selection: SelectionConfig | str | None = None,
        generation: GenerationConfig | None = None,
        start: Moment | str | None = None,
        end: Moment | str | None = None,
    ) -> AnswerStream:
        """As :meth:`Video.stream`, behind the turns so far."""
        events = self._asked.events(question, as_selection(selection), generation, as_range(start, end), self.turns)
        return AnswerStream(events, self._keep)

    def explain(
        self,
        question: str | None = None,
        *,
        selection: SelectionConfig | str | None = None,
        generation: GenerationConfig | None = None,
        start: Moment | str | None = None,
        end: Moment | str | None = None,
    ) -> Explanation:
        """As :meth:`Video.explain`: of the latest question, behind the turns before it. It adds no turn.

        :raises QuestionError: nothing was asked yet.
        """
        answers = self.answers
        if question is None and not answers:
            raise QuestionError("nothing was asked yet: give a question to be explained")
        latest, before = (answers[-1].question, self.turns[:-1]) if question is None else (question, self.turns)
        return explain(self._asked, latest, as_selection(selection), generation, as_range(start, end), before)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {"video_id": self.video.id, "answers": [answer.to_dict() for answer in self.answers]}

    def __repr__(self) -> str:
        return f"<Conversation about {self.video.name!r}, {len(self._answers)} turns>"

    def __str__(self) -> str:
        return "\n\n".join(f"> {answer.question}\n{answer}" for answer in self.answers)

    def _repr_html_(self) -> str:
        return "<hr>".join(answer._repr_html_() for answer in self.answers) or repr(self)

    def _keep(self, answer: Answer) -> None:
        with self._lock:
            self._answers.append(answer)
