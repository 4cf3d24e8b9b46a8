"""What an answer rests on, from the memory it was given over."""

from __future__ import annotations

from videox2l.answering.answer import Answer, Covered, DegradedSpan, Receipt, Span
from videox2l.answering.costs import Costs
from videox2l.answering.memory import Memory
from videox2l.answering.resident import ResidentVideo
from videox2l.answering.text import AnswerText
from videox2l.answering.time_range import recorded_at


def answer(
    video: ResidentVideo, question: str, memory: Memory, text: AnswerText, question_tokens: int, costs: Costs
) -> Answer:
    """The complete answer, once ``text`` has ended."""
    used = used_bytes(video, memory)
    receipt = Receipt(
        bytes_read=costs.storage,
        bytes_from=costs.bytes_from(used),
        bytes_used=used,
        cache=costs.cache,
        milliseconds=costs.watch.milliseconds,
        memory_tokens=memory.mixed.tokens,
        question_tokens=question_tokens,
        answer_tokens=text.tokens,
    )
    return Answer(
        text=text.text,
        finish_reason=text.finish_reason,
        video_id=video.manifest.video.video_id,
        video_name=video.manifest.video.name,
        question=question,
        spans=spans(video, memory),
        degraded=degraded(video, memory),
        chunks=video.chunks,
        covered=covered(video, memory),
        scores=memory.scores,
        receipt=receipt,
        logprobs=None if text.logprobs is None else tuple(text.logprobs),
    )


def spans(video: ResidentVideo, memory: Memory) -> tuple[Span, ...]:
    """The chunks that were re-loaded."""
    scores, found = memory.scores, []
    for chunk in memory.detailed:
        start_s, end_s = _times(video, chunk, chunk)
        score = None if scores is None else scores[chunk]
        found.append(Span(chunk, start_s, end_s, score, recorded_at(video.manifest, start_s, end_s)))
    return tuple(found)


def degraded(video: ResidentVideo, memory: Memory) -> tuple[DegradedSpan, ...]:
    """The chunks that should have been re-loaded and could not."""
    found = []
    for chunk, reason in sorted(memory.missing.items()):
        start_s, end_s = _times(video, chunk, chunk)
        found.append(DegradedSpan(chunk, start_s, end_s, reason, recorded_at(video.manifest, start_s, end_s)))
    return tuple(found)


def covered(video: ResidentVideo, memory: Memory) -> Covered:
    """The part of the video that is in the memory."""
    if not memory.chunks:
        return Covered(0, 0.0, 0.0)
    start_s, end_s = _times(video, memory.chunks[0], memory.chunks[-1])
    return Covered(len(memory.chunks), start_s, end_s, recorded_at(video.manifest, start_s, end_s), memory.chunks[0])


def used_bytes(video: ResidentVideo, memory: Memory) -> dict[str, int]:
    """Archive bytes of the KVs an answer rests on, by level."""
    return {
        "prompt": video.manifest.prompt.length,
        "high": video.level_bytes("high", memory.gist),
        "low": video.level_bytes("low", memory.detailed),
    }


def _times(video: ResidentVideo, first: int, last: int) -> tuple[float, float]:
    return video.manifest.chunks[first].start_s, video.manifest.chunks[last].end_s
