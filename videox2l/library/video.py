"""One video of a library: what it is, and questions to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from videox2l.answering import Answer
from videox2l.answering.time_range import Moment
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.library.arguments import as_range, as_selection
from videox2l.library.asked import Asked, Running
from videox2l.library.conversation import Conversation
from videox2l.library.explanation import Explanation, explain
from videox2l.library.stream import AnswerStream
from videox2l.store import CatalogRow, VideoEntry


class Video:
    """A video of an archive. Get it from :meth:`Library.video`, :meth:`Library.videos` or :meth:`Library.ingest`.

    Arguments of its questions:

    * ``selection``: which chunks are read in detail. A name or chunk numbers (``"attention"``, ``"all"``, ``"none"``,
      ``"0,4-6"``), or a :class:`~videox2l.SelectionConfig` for ``top_k`` and a budget.
    * ``generation``: how the answer is decoded, a :class:`~videox2l.GenerationConfig`.
    * ``start``, ``end``: ask only about this part of the video: seconds, ``"MM:SS"``, ``"HH:MM:SS"``, an ISO 8601 time
      or a ``datetime``.
    """

    def __init__(self, start: Callable[[], Running], entry: VideoEntry, index: str | None = None) -> None:
        self._entry, self._asked = entry, Asked(start, entry.video_id, index)

    @property
    def index(self) -> str | None:
        """Id of the index that was chosen; ``None`` where the only one that fits the model is meant."""
        return self._asked.index

    @property
    def id(self) -> str:
        return self._entry.video_id

    @property
    def name(self) -> str:
        return self._row.name

    @property
    def source(self) -> str:
        """Path or URL at its latest ingest."""
        return self._row.source

    @property
    def duration_s(self) -> float:
        """Seconds of video that the archive covers."""
        return self._row.duration_s

    @property
    def chunks(self) -> int:
        return self._row.chunks

    @property
    def metadata(self) -> dict[str, Any]:
        """Values that were given at its ingest."""
        return dict(self._row.description.metadata)

    def ask(
        self,
        question: str,
        *,
        selection: SelectionConfig | str | None = None,
        generation: GenerationConfig | None = None,
        start: Moment | str | None = None,
        end: Moment | str | None = None,
    ) -> Answer:
        """Answer a question.

        Raises :class:`~videox2l.errors.QuestionError` for one that cannot be asked so,
        :class:`~videox2l.errors.FingerprintMismatchError` where the video was ingested with another model, and the
        archive's errors.
        """
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
        """As :meth:`ask`, piece by piece; errors come with the first piece."""
        return AnswerStream(self._asked.events(question, as_selection(selection), generation, as_range(start, end)))

    def conversation(self) -> Conversation:
        """Begin a conversation, in which questions may refer to earlier ones."""
        return Conversation(self, self._asked)

    def explain(
        self,
        question: str,
        *,
        selection: SelectionConfig | str | None = None,
        generation: GenerationConfig | None = None,
        start: Moment | str | None = None,
        end: Moment | str | None = None,
    ) -> Explanation:
        """Ask, and ask again without each of the chunks that were read in detail: does the answer need it?

        Costs one more question for each of them. Raises :class:`~videox2l.errors.ConfigError` for a temperature above
        0: answers that differ by chance cannot be compared.
        """
        return explain(self._asked, question, as_selection(selection), generation, as_range(start, end))

    def logprob(
        self,
        question: str,
        answer: str,
        *,
        selection: SelectionConfig | str | None = None,
        start: Moment | str | None = None,
        end: Moment | str | None = None,
    ) -> float:
        """Natural logarithm of the probability that the model answers with this text, to weigh answers you give."""
        return self._asked.logprob(question, answer, as_selection(selection), as_range(start, end))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "id": self.id,
            "name": self.name,
            "source": self.source,
            "duration_s": self.duration_s,
            "chunks": self.chunks,
            "metadata": self.metadata,
        }

    def __repr__(self) -> str:
        return f"<Video {self.name!r}, {self.duration_s:.1f} s, {self.chunks} chunks, id {self.id[:12]}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Video):
            return NotImplemented
        return self._asked == other._asked

    def __hash__(self) -> int:
        return hash(self._asked)

    @property
    def _row(self) -> CatalogRow:
        """Of the index that was asked for, else of the latest."""
        return next((row for row in self._entry.indexes if row.index_fp == self._asked.index), self._entry.indexes[-1])
