"""What an answer rests on, from the memory it was given over."""

from __future__ import annotations

from videox2l.answering.answer import Covered, DegradedSpan, Span
from videox2l.answering.memory import Memory
from videox2l.answering.resident import ResidentVideo
from videox2l.answering.time_range import recorded_at


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
    return Covered(len(memory.chunks), start_s, end_s, recorded_at(video.manifest, start_s, end_s))


def used_bytes(video: ResidentVideo, memory: Memory) -> dict[str, int]:
    """Archive bytes of the KVs an answer rests on, by level."""
    return {
        "prompt": video.manifest.prompt.length,
        "high": video.level_bytes("high", memory.gist),
        "low": video.level_bytes("low", memory.detailed),
    }


def _times(video: ResidentVideo, first: int, last: int) -> tuple[float, float]:
    return video.manifest.chunks[first].start_s, video.manifest.chunks[last].end_s
