"""One question: choose chunks over the gist, re-load them in detail, answer on the stock model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from videox2l.answering import evidence
from videox2l.answering.adaptive import stream_selected
from videox2l.answering.answer import Answer, TextDelta, Turn
from videox2l.answering.costs import Costs
from videox2l.answering.decode import generate
from videox2l.answering.dialogue import fit_context, tokenize
from videox2l.answering.memory import build_memory
from videox2l.answering.resident import ResidentVideo
from videox2l.answering.text import AnswerText
from videox2l.answering.time_range import TimeRange
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.models import KVCompressibleModel
from videox2l.models.cache import to_cache


def ask(
    model: KVCompressibleModel,
    video: ResidentVideo,
    question: str,
    selection: SelectionConfig | None = None,
    generation: GenerationConfig | None = None,
    time_range: TimeRange | None = None,
    history: Sequence[Turn] = (),
) -> Answer:
    """Answer one question about one video; see :func:`stream_answer`."""
    *_, answer = stream_answer(model, video, question, selection, generation, time_range, history)
    assert isinstance(answer, Answer)
    return answer


def stream_answer(
    model: KVCompressibleModel,
    video: ResidentVideo,
    question: str,
    selection: SelectionConfig | None = None,
    generation: GenerationConfig | None = None,
    time_range: TimeRange | None = None,
    history: Sequence[Turn] = (),
) -> Iterator[TextDelta | Answer]:
    """Yield the answer's text piece by piece and, last, the complete :class:`Answer` with its evidence.

    With ``time_range`` the memory holds only the chunks that overlap it. Chosen chunks whose low KVs are damaged, lost
    or removed are answered from their high KVs, and the answer says which. ``history``: earlier turns of the
    conversation, which the question may refer to; they are run behind the new question's memory.

    Raises :class:`~videox2l.errors.QuestionError` for an empty question,
    :class:`~videox2l.answering.TimeRangeError` where the video has nothing in the range,
    :class:`~videox2l.errors.QuestionTooLongError` where question and re-loaded KVs leave no room in the model's
    context, and the archive's errors; all before the first piece.
    """
    costs, generation = Costs(), generation or GenerationConfig()

    def once(selection: SelectionConfig) -> Iterator[TextDelta | Answer]:
        return _once(model, video, question, selection, generation, time_range, history, costs)

    yield from stream_selected(once, selection or SelectionConfig())


def _once(
    model: KVCompressibleModel,
    video: ResidentVideo,
    question: str,
    selection: SelectionConfig,
    generation: GenerationConfig,
    time_range: TimeRange | None,
    history: Sequence[Turn],
    costs: Costs,
) -> Iterator[TextDelta | Answer]:
    dialogue = tokenize(model, question, history)
    chunks = tuple(range(video.chunks)) if time_range is None else time_range.chunks(video.manifest)
    memory = build_memory(model, video, dialogue, selection, chunks, costs)
    generation = fit_context(model, memory.mixed.tokens, dialogue, generation)
    text = AnswerText(model.tokenizer, generation)
    picks = generate(model.decoder, dialogue.ids, to_cache(memory.mixed), generation, model.stop_ids)
    yield from text.deltas(([pick] for pick in picks), costs.watch)
    yield evidence.answer(video, question, memory, text, len(dialogue.ids), costs)
