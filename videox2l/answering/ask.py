"""One question: choose chunks over the gist, re-load them in detail, answer on the stock model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from videox2l.answering import evidence
from videox2l.answering.answer import Answer, FinishReason, Receipt, TextDelta, Turn
from videox2l.answering.decode import generate
from videox2l.answering.dialogue import fit_context, tokenize
from videox2l.answering.memory import build_memory
from videox2l.answering.resident import ResidentVideo
from videox2l.answering.stopwatch import Stopwatch
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
    selection, generation = selection or SelectionConfig(), generation or GenerationConfig()
    watch, bytes_read = Stopwatch(), {"prompt": 0, "high": 0, "low": 0}
    dialogue = tokenize(model, question, history)
    chunks = tuple(range(video.chunks)) if time_range is None else time_range.chunks(video.manifest)
    memory = build_memory(model, video, dialogue, selection, chunks, watch, bytes_read)
    generation = fit_context(model, memory.mixed.tokens, dialogue, generation)
    text = AnswerText(model.tokenizer, generation)
    for pick in generate(model.decoder, dialogue.ids, to_cache(memory.mixed), generation, model.stop_ids):
        if text.tokens == 0:
            watch.lap("question")
            watch.since_start("first_token")
        if delta := text.push(pick):
            yield delta
        if text.stopped:
            break
    if delta := text.finish():
        yield delta
    watch.lap("decode" if text.tokens else "question")
    watch.since_start("total")
    reached_limit = text.tokens == generation.max_new_tokens and not text.stopped
    finish: FinishReason = "length" if reached_limit else "stop"
    used = evidence.used_bytes(video, memory)
    receipt = Receipt(
        bytes_read=bytes_read,
        bytes_from={
            level: {"memory": max(0, size - bytes_read[level]), "disk": 0, "storage": bytes_read[level]}
            for level, size in used.items()
        },
        bytes_used=used,
        cache={"video": not bytes_read["prompt"] + bytes_read["high"], "memory": False, "conversation": False},
        milliseconds=watch.milliseconds,
        memory_tokens=memory.mixed.tokens,
        question_tokens=len(dialogue.ids),
        answer_tokens=text.tokens,
    )
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
        logprobs=None if text.logprobs is None else tuple(text.logprobs),
    )
