"""One question: choose chunks over the gist, re-load them in detail, answer on the stock model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from videox2l.answering.answer import Answer, FinishReason, Receipt, Span, TextDelta
from videox2l.answering.decode import TextStream, generate
from videox2l.answering.resident import ResidentVideo
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.errors import QuestionError, QuestionTooLongError
from videox2l.kv import KV, MixedKV, mix, reload
from videox2l.models import KVCompressibleModel
from videox2l.models.cache import to_cache
from videox2l.selection import QuestionContext, Selection, needs_scores, select


class Stopwatch:
    """Milliseconds by stage, in the order the stages ran."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.milliseconds: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """Book the time since the last lap on ``stage``."""
        now = time.perf_counter()
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + (now - self._last) * 1000
        self._last = now

    def since_start(self, stage: str) -> None:
        """Book the time since the question arrived on ``stage``."""
        self.milliseconds[stage] = (time.perf_counter() - self._start) * 1000


def ask(
    model: KVCompressibleModel,
    video: ResidentVideo,
    question: str,
    selection: SelectionConfig | None = None,
    generation: GenerationConfig | None = None,
) -> Answer:
    """Answer one question about one video; see :func:`stream_answer`."""
    *_, answer = stream_answer(model, video, question, selection, generation)
    assert isinstance(answer, Answer)
    return answer


def stream_answer(
    model: KVCompressibleModel,
    video: ResidentVideo,
    question: str,
    selection: SelectionConfig | None = None,
    generation: GenerationConfig | None = None,
) -> Iterator[TextDelta | Answer]:
    """Yield the answer's text piece by piece and, last, the complete :class:`Answer` with its evidence.

    Raises :class:`QuestionError` for an empty question, :class:`QuestionTooLongError` where question and re-loaded
    KVs leave no room in the model's context, and the archive's errors; all before the first piece.
    """
    selection, generation = selection or SelectionConfig(), generation or GenerationConfig()
    watch, bytes_read = Stopwatch(), {"prompt": 0, "high": 0, "low": 0}
    ids = question_ids(model, question)
    chosen, memory = build_memory(model, video, ids, selection, watch, bytes_read)
    generation = fit_context(model, memory, ids, generation)
    text, tokens = TextStream(model.tokenizer), 0
    for token in generate(model.decoder, ids, to_cache(memory), generation, model.stop_ids):
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
    receipt = Receipt(bytes_read, used_bytes(video, chosen), watch.milliseconds, memory.tokens, len(ids), tokens)
    yield Answer(
        text=text.text,
        finish_reason=finish,
        video_id=video.manifest.video.video_id,
        video_name=video.manifest.video.name,
        question=question,
        spans=spans(video, chosen),
        chunks=video.chunks,
        scores=chosen.scores,
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


def build_memory(
    model: KVCompressibleModel,
    video: ResidentVideo,
    ids: list[int],
    selection: SelectionConfig,
    watch: Stopwatch,
    bytes_read: dict[str, int],
) -> tuple[Selection, MixedKV]:
    """Select chunks and mix the memory. High KVs are not even fetched where every chunk comes at low."""
    prompt = video.prompt(bytes_read)
    watch.lap("load")
    context = None
    if needs_scores(selection):
        high = video.high(bytes_read)
        watch.lap("load")
        context = QuestionContext(model, ids, _mix(model, prompt, high))
    chosen = select(selection, video.chunks, context)
    watch.lap("select")
    if context is not None and not chosen.chunks:
        return chosen, context.memory
    low = video.low(chosen.chunks, bytes_read)
    watch.lap("fetch_low")
    if len(low) == video.chunks:
        parts: Sequence[KV] = [low[index] for index in range(video.chunks)]
    else:
        parts = reload(video.high(bytes_read), low)
        watch.lap("load")
    memory = _mix(model, prompt, parts)
    watch.lap("mix")
    return chosen, memory


@torch.inference_mode()
def _mix(model: KVCompressibleModel, prompt: KV, parts: Sequence[KV]) -> MixedKV:
    return mix(prompt, parts, partial(model.rope_tables, 0))


def fit_context(
    model: KVCompressibleModel, memory: MixedKV, ids: list[int], generation: GenerationConfig
) -> GenerationConfig:
    """Shorten the answer's limit to what the context leaves; raises :class:`QuestionTooLongError` where that is 0."""
    room = model.context_length - memory.tokens - len(ids)
    if room < 1:
        raise QuestionTooLongError(
            f"question ({len(ids)} tokens) and re-loaded KVs ({memory.tokens}) exceed the model's context of "
            f"{model.context_length}: shorten the question or re-load fewer chunks (--top-k, --select)"
        )
    if generation.max_new_tokens <= room:
        return generation
    return GenerationConfig(room, generation.temperature, generation.top_p, generation.seed)


def spans(video: ResidentVideo, chosen: Selection) -> tuple[Span, ...]:
    """The re-loaded chunks with their time spans and scores."""
    entries = [video.manifest.chunks[index] for index in chosen.chunks]
    scores = chosen.scores
    return tuple(
        Span(entry.index, entry.start_s, entry.end_s, None if scores is None else scores[entry.index])
        for entry in entries
    )


def used_bytes(video: ResidentVideo, chosen: Selection) -> dict[str, int]:
    """Archive bytes of the KVs an answer rests on, by level; high KVs count whole once any of them is needed."""
    rest = range(video.chunks) if len(chosen.chunks) < video.chunks else ()
    return {
        "prompt": video.manifest.prompt.length,
        "high": video.level_bytes("high", rest),
        "low": video.level_bytes("low", chosen.chunks),
    }
