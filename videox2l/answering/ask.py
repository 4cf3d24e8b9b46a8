"""One question: choose chunks over the gist, re-load them in detail, answer on the stock model."""

from __future__ import annotations

from collections.abc import Iterator

from videox2l.answering import evidence
from videox2l.answering.answer import Answer, FinishReason, Receipt, TextDelta
from videox2l.answering.decode import TextStream, generate
from videox2l.answering.memory import build_memory
from videox2l.answering.resident import ResidentVideo
from videox2l.answering.stopwatch import Stopwatch
from videox2l.answering.time_range import TimeRange
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.errors import QuestionError, QuestionTooLongError
from videox2l.kv import MixedKV
from videox2l.models import KVCompressibleModel
from videox2l.models.cache import to_cache


def ask(
    model: KVCompressibleModel,
    video: ResidentVideo,
    question: str,
    selection: SelectionConfig | None = None,
    generation: GenerationConfig | None = None,
    time_range: TimeRange | None = None,
) -> Answer:
    """Answer one question about one video; see :func:`stream_answer`."""
    *_, answer = stream_answer(model, video, question, selection, generation, time_range)
    assert isinstance(answer, Answer)
    return answer


def stream_answer(
    model: KVCompressibleModel,
    video: ResidentVideo,
    question: str,
    selection: SelectionConfig | None = None,
    generation: GenerationConfig | None = None,
    time_range: TimeRange | None = None,
) -> Iterator[TextDelta | Answer]:
    """Yield the answer's text piece by piece and, last, the complete :class:`Answer` with its evidence.

    With ``time_range`` the memory holds only the chunks that overlap it. Chosen chunks whose low KVs are damaged, lost
    or removed are answered from their high KVs, and the answer says which.

    Raises :class:`QuestionError` for an empty question, :class:`~videox2l.answering.TimeRangeError` where the video has
    nothing in the range, :class:`QuestionTooLongError` where question and re-loaded KVs leave no room in the model's
    context, and the archive's errors; all before the first piece.
    """
    selection, generation = selection or SelectionConfig(), generation or GenerationConfig()
    watch, bytes_read = Stopwatch(), {"prompt": 0, "high": 0, "low": 0}
    ids = question_ids(model, question)
    chunks = tuple(range(video.chunks)) if time_range is None else time_range.chunks(video.manifest)
    memory = build_memory(model, video, ids, selection, chunks, watch, bytes_read)
    generation = fit_context(model, memory.mixed, ids, generation)
    text, tokens = TextStream(model.tokenizer), 0
    for token in generate(model.decoder, ids, to_cache(memory.mixed), generation, model.stop_ids):
        if tokens == 0:
            watch.lap("question")
            watch.since_start("first_token")
        tokens += 1
        if piece := text.push(token):
            yield TextDelta(piece)
    if piece := text.finish():
        yield TextDelta(piece)
    watch.lap("decode" if tokens else "question")
    watch.since_start("total")
    finish: FinishReason = "length" if tokens == generation.max_new_tokens else "stop"
    used = evidence.used_bytes(video, memory)
    receipt = Receipt(bytes_read, used, watch.milliseconds, memory.mixed.tokens, len(ids), tokens)
    yield Answer(
        text=text.text,
        finish_reason=finish,
        video_id=video.manifest.video.video_id,
        video_name=video.manifest.video.name,
        question=question,
        spans=evidence.spans(video, memory),
        degraded=evidence.degraded(video, memory),
        chunks=video.chunks,
        covered=evidence.covered(video, memory),
        scores=memory.scores,
        receipt=receipt,
    )


def question_ids(model: KVCompressibleModel, question: str) -> list[int]:
    """The question's tokens. Raises for an empty question and for one that alone exceeds the context."""
    if not question.strip():
        raise QuestionError("the question is empty: ask something about the video")
    ids = model.question_ids(question)
    if len(ids) >= model.context_length:
        raise QuestionTooLongError(
            f"the question has {len(ids)} tokens, the model's context is {model.context_length}: shorten it"
        )
    return ids


def fit_context(
    model: KVCompressibleModel, memory: MixedKV, ids: list[int], generation: GenerationConfig
) -> GenerationConfig:
    """Shorten the answer's limit to what the context leaves; raises :class:`QuestionTooLongError` where that is 0."""
    room = model.context_length - memory.tokens - len(ids)
    if room < 1:
        raise QuestionTooLongError(
            f"question ({len(ids)} tokens) and re-loaded KVs ({memory.tokens}) exceed the model's context of "
            f"{model.context_length}: shorten the question, re-load fewer chunks (--top-k, --select) or ask about a "
            "shorter part of the video (--from, --to)"
        )
    if generation.max_new_tokens <= room:
        return generation
    return GenerationConfig(room, generation.temperature, generation.top_p, generation.seed)
