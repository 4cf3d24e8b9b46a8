"""An answer while it is being given."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from types import TracebackType

from videox2l.answering import Answer, TextDelta


class AnswerStream:
    """Pieces of an answer's text as they come, and then the :attr:`answer` with its evidence.

    Iterate over it once. Closing it, by :meth:`close` or ``with``, stops an answer that is not wanted any more.
    """

    def __init__(
        self, events: Generator[TextDelta | Answer, None, None], done: Callable[[Answer], None] = lambda _: None
    ) -> None:
        """``done`` is called with the answer once it is whole."""
        self._events, self._done = events, done
        self._answer: Answer | None = None

    def __iter__(self) -> Iterator[str]:
        for event in self._events:
            if isinstance(event, Answer):
                self._answer = event
                self._done(event)
            elif event.text:
                yield event.text

    @property
    def answer(self) -> Answer:
        """The whole answer; waits for the rest of it. Raises ``RuntimeError`` where it was stopped before its end."""
        for _ in self:
            pass
        if self._answer is None:
            raise RuntimeError("the answer was stopped before its end")
        return self._answer

    def close(self) -> None:
        """Stop the answer, if it has not ended."""
        self._events.close()

    def __enter__(self) -> AnswerStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
