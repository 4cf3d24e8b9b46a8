"""Measuring, on the device that would do the work and with the model that would, what an estimate needs to know.

A few chunks of random frames are prefilled behind a small memory and behind a large one; attention makes the
difference. A large memory is not computed: the same chunk's KVs are put into it many times, which cost as much.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat

import ray
import torch
from ray.exceptions import RayTaskError

from pipelines.ingest.estimate import Calibration, Costs, Estimate, Line, Prices, VideoSize, estimate
from pipelines.ingest.job import ModelChoice, ModelFacts
from pipelines.ingest.rows import IngestRow
from videox2l.answering.decode import generate
from videox2l.config import CompressionConfig, GenerationConfig, SelectionConfig
from videox2l.kv import KV, LEVELS, ChunkKV, Level, MixedKV, mix
from videox2l.kv.mix import reload
from videox2l.models import KVCompressibleModel, PrefillState, Timeline, load_model
from videox2l.models.cache import to_cache
from videox2l.selection import QuestionContext, select

# After one that warms up. The spread between them is reported.
_REPEATS = 3

# Chunks in the small memory, and the fewest in the large one.
_FEW, _MORE = 2, 8

# Low tokens in the large memory: what the longest context of the supported models holds. Attention's cost is a line in
# the memory's length, so a longer one need not be tried.
_LARGE_MEMORY_TOKENS = 32_768

# A short sentence.
_ANSWER_TOKENS = 16

_QUESTION = "What happens in this part of the video?"


@dataclass(frozen=True)
class _Samples:
    """``seconds`` that one thing took, several times, with about ``tokens`` (or pairs of tokens)."""

    tokens: float
    seconds: Sequence[float]


def calibrate(
    choice: ModelChoice, compression: CompressionConfig, chunks: int, *, gpus: float, cpus: float
) -> Calibration:
    """Load the model where a prefill worker would, and measure. ``chunks``: of the longest video that is planned.

    :raises ModelError: there is no such model, or its checkpoint is not sound.
    """
    try:
        task = _calibrate.options(num_gpus=gpus, num_cpus=cpus).remote(choice, compression, chunks, math.ceil(cpus))
        measured: Calibration = ray.get(task)
    except RayTaskError as error:
        raise error.cause from None
    return measured


def planned_costs(
    rows: Iterable[IngestRow],
    choice: ModelChoice,
    facts: ModelFacts,
    prices: Prices,
    *,
    gpus: float,
    cpus: float,
    free_bytes: int | None,
) -> Estimate | None:
    """What the planned videos among ``rows`` of a dry run will cost, after a calibration; None where there are none.

    ``gpus`` and ``cpus`` are those of a prefill worker. ``free_bytes``: on the archive's disk, if it is one.
    """
    videos = [
        VideoSize(row.chunks, row.kept, row.frames, row.duration_s, row.low_bytes, row.high_bytes)
        for row in rows
        if row.status == "planned"
    ]
    if not videos:
        return None
    longest = max(video.chunks for video in videos)
    calibration = calibrate(choice, facts.compression, longest, gpus=gpus, cpus=cpus)
    return estimate(videos, facts.compression, facts.tokens_per_frame, calibration, prices, free_bytes)


# Ray ends a process that has used a GPU after its task, so the memory is free again.
@ray.remote(max_retries=1)
def _calibrate(choice: ModelChoice, compression: CompressionConfig, chunks: int, threads: int) -> Calibration:
    torch.set_num_threads(threads)
    model = load_model(choice.name, device=choice.device, dtype=choice.dtype)
    return measure(model, compression, chunks, choice.device)


def measure(model: KVCompressibleModel, compression: CompressionConfig, chunks: int, device: str) -> Calibration:
    """As :func:`calibrate`, in this process. Of a memory that the device has no room for, half is tried."""
    tokens = compression.frames_per_chunk * model.tokens_per_frame
    large = max(_MORE, min(chunks, _LARGE_MEMORY_TOKENS * compression.low_ratio // tokens))
    while True:
        try:
            return _measure(model, compression, large, device)
        except torch.OutOfMemoryError:
            if large <= _MORE:
                raise
            large = max(_MORE, large // 2)


@torch.inference_mode()
def _measure(model: KVCompressibleModel, compression: CompressionConfig, large: int, device: str) -> Calibration:
    fmt, frames = model.frame_format, compression.frames_per_chunk
    frames_FHWC = torch.randint(0, 256, (frames, fmt.height, fmt.width, 3), dtype=torch.uint8)
    vision = _timed(lambda: model.encode_frames(frames_FHWC))
    visual_tokens_TN = model.encode_frames(frames_FHWC)
    # Long enough for all that is tried: a prompt that names the video's length must stay the same.
    timeline = Timeline.steady(frames * (large + 2 + _REPEATS))
    prefill = model.start_prefill(compression, timeline=timeline)
    prompt = prefill.prompt
    prefill.append(visual_tokens_TN, last=False)  # as the first chunk it may be compressed less than the others
    chunk = prefill.append(visual_tokens_TN, last=False)

    rows = {level: _rows(compression, level, len(visual_tokens_TN), chunk) for level in LEVELS}
    few, many = (
        _passes(model, compression, PrefillState(prompt, repeat(chunk, count)), visual_tokens_TN, timeline)
        for count in (_FEW, large)
    )
    asking = [_asking(model, prompt, chunk, count) for count in (_FEW, large)]

    def costs(pick: Callable[[Sequence[float]], float]) -> Costs:
        def line(a: _Samples, b: _Samples) -> Line:
            return Line.through((a.tokens, pick(a.seconds)), (b.tokens, pick(b.seconds)))

        passes = line(few, many)  # over pairs of a row and a memory token
        (few_asked, few_answered), (many_asked, many_answered) = asking
        return Costs(
            frame_s=pick(vision) / frames,
            token_s=passes.fixed_s / sum(rows.values()),
            pair_s=passes.per_token_s,
            question=line(few_asked, many_asked),
            answer=line(few_answered, many_answered),
        )

    return Calibration(device, costs(min), costs(statistics.median), costs(max), large * chunk["low"].tokens)


def _passes(
    model: KVCompressibleModel,
    compression: CompressionConfig,
    state: PrefillState,
    visual_tokens_TN: torch.Tensor,
    timeline: Timeline,
) -> _Samples:
    """Both passes over a chunk behind ``state``; ``tokens`` are pairs of a row and a memory token."""
    prefill = model.start_prefill(compression, state, timeline)
    pairs = []

    def append() -> None:
        before = {level: prefill.memory_tokens(level) for level in LEVELS}
        chunk = prefill.append(visual_tokens_TN, last=False)
        pairs.append(sum(_rows(compression, level, len(visual_tokens_TN), chunk) * before[level] for level in LEVELS))

    seconds = _timed(append)
    return _Samples(statistics.mean(pairs[1:]), seconds)


def _rows(compression: CompressionConfig, level: Level, raw_tokens: int, chunk: ChunkKV) -> int:
    """Rows of a chunk that are run for ``level``."""
    return chunk[level].tokens + (raw_tokens if compression.made_by(level) else 0)


def _asking(model: KVCompressibleModel, prompt: KV, chunk: ChunkKV, chunks: int) -> tuple[_Samples, _Samples]:
    """A question from mixed KVs, selection included, and an answer alone over the whole low memory."""
    device = model.decoder.device
    prompt = prompt.to(device=device)
    low, high = (chunk[level].to(device=device) for level in LEVELS)
    ids, selection = model.question_ids(_QUESTION), SelectionConfig()
    together = partial(mix, prompt, rope_tables=partial(model.rope_tables, 0))

    def answer(memory: MixedKV) -> None:
        # No token ends it: an answer of the same length each time.
        for _ in generate(model.decoder, ids, to_cache(memory), GenerationConfig(_ANSWER_TOKENS), frozenset()):
            pass

    gist = [high] * chunks
    mixed_tokens = []

    def ask() -> None:
        chosen = select(selection, chunks, QuestionContext(model, ids, together(gist))).chunks
        memory = together(reload(gist, dict.fromkeys(chosen, low)))
        mixed_tokens.append(memory.tokens)
        answer(memory)

    asked = _timed(ask)
    whole = together([low] * chunks)
    return _Samples(mixed_tokens[-1], asked), _Samples(whole.tokens, _timed(lambda: answer(whole)))


def _timed(work: Callable[[], object]) -> list[float]:
    """Seconds that ``work`` takes, a few times, after once that does not count."""
    seconds = []
    for _ in range(1 + _REPEATS):
        _finish()
        began = time.perf_counter()
        work()
        _finish()
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
