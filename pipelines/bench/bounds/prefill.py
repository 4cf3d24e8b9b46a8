"""Both passes of a prefill, beside the stock model over as many interleaved tokens behind the same memories; and a
single pass for both levels, beside the two.

Chunk by chunk in turn, so one run of a video gives as many pairs as it has chunks. The attention of each chunk is also
run by itself: all that a prefill does besides should take as long for the last chunk as for the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from statistics import median

import torch
from transformers import DynamicCache

from pipelines.bench.bounds.sizes import PROMPT_TOKENS, Subject
from pipelines.bench.flops import matrix_peak, prefill_flops
from pipelines.bench.rows.peak_memory import peak_bytes, reset_peak
from pipelines.bench.rows.report import Row
from pipelines.bench.rows.timing import timed
from videox2l.kv import LEVELS, ChunkKV
from videox2l.models.memory import check_fits
from videox2l.models.video_xl.attention import attend, window_mask
from videox2l.models.video_xl.forward import Memory
from videox2l.models.video_xl.memory import VideoXLWorkload
from videox2l.models.video_xl.prefill import VideoXLPrefill

TARGET, SINGLE_TARGET = 1.25, 0.6

_WARM_UP_CHUNKS = 3


@dataclass(frozen=True)
class ChunkTimes:
    """Seconds of one chunk at both levels: by our two passes, by our single one, by the stock model's two, and of the
    two passes' attention by itself."""

    own: float
    single: float
    stock: float
    attention: float


@dataclass(frozen=True)
class Prefilled:
    """A video's chunks, and the most memory that was held."""

    chunks: tuple[ChunkTimes, ...]
    peak: int | None

    @property
    def growth(self) -> dict[str, list[float]]:
        """Seconds since the start, after each chunk."""
        return {
            name: list(accumulate(getattr(one, name) for one in self.chunks)) for name in ("own", "stock", "attention")
        }


def measure(subject: Subject, progress: Callable[[str], None]) -> Iterator[tuple[Sequence[Row], Prefilled]]:
    """One video of each length, after a short one to warm up."""
    for chunks in subject.size.lengths:
        check_fits(_workload(subject, chunks), subject.device, loaded=True)
    prefill_video(subject, _WARM_UP_CHUNKS)
    for chunks in subject.size.lengths:
        progress(f"prefill: {chunks} chunks")
        peak_rate = matrix_peak(subject.device, subject.dtype)
        prefilled = prefill_video(subject, chunks)
        peak_rate = max(peak_rate, matrix_peak(subject.device, subject.dtype))
        yield (_row(subject, prefilled, peak_rate), _single_row(prefilled)), prefilled


@torch.inference_mode()
def prefill_video(subject: Subject, chunks: int) -> Prefilled:
    """Prefill ``chunks`` chunks of random visual tokens, each beside what it is held against."""
    model = subject.model.network
    prompt_T = torch.arange(PROMPT_TOKENS)
    compressions = subject.size.compression, replace(subject.size.compression, prefill="single-pass")
    prefill, single = (VideoXLPrefill(model.language_model, model.vst, prompt_T, one) for one in compressions)
    for one in (prefill, single):
        one.expect(chunks, subject.raw_tokens)
    visual_TN = torch.randn(
        subject.raw_tokens, model.config.text.hidden_size, device=subject.device, dtype=subject.dtype
    )
    taken, peaks = [], []
    for index in range(chunks):
        before = {level: prefill.memory_tokens(level) for level in LEVELS}
        found: list[ChunkKV] = []
        reset_peak(subject.device)
        last = index == chunks - 1
        own = timed(lambda last=last, found=found: found.append(prefill.append(visual_TN, last=last)), subject.device)  # type: ignore[misc]
        peaks.append(peak_bytes(subject.device) or 0)
        in_one_pass = timed(lambda last=last: single.append(visual_TN, last=last), subject.device)  # type: ignore[misc]
        stock = attention = 0.0
        # The first chunk's passes are one where its layouts are equal.
        levels = LEVELS[:1] if found[0]["high"] is found[0]["low"] else LEVELS
        for level in levels:
            rows = subject.raw_tokens + found[0][level].tokens
            memory = prefill._memory[level]  # the very same visible past
            stock += _stock(subject, memory, before[level], rows)
            attention += _attention(subject, memory, before[level], rows)
        taken.append(ChunkTimes(own, in_one_pass, stock, attention))
    return Prefilled(tuple(taken), max(peaks) or None)


def _stock(subject: Subject, memory: Memory, past: int, rows: int) -> float:
    """Qwen2's own forward of ``rows`` embeddings behind a cache of ``past`` tokens."""
    model = subject.model.network.language_model
    cache = DynamicCache()
    for layer in range(len(memory.keys_LHTD)):
        cache.update(memory.keys_LHTD[layer, None, :, :past], memory.values_LHTD[layer, None, :, :past], layer)
    rows_BTN = torch.randn(1, rows, model.config.hidden_size, device=subject.device, dtype=subject.dtype)
    return timed(lambda: model.model(inputs_embeds=rows_BTN, past_key_values=cache, use_cache=True), subject.device)


def _attention(subject: Subject, memory: Memory, past: int, rows: int) -> float:
    """Every layer's attention but the last, which a prefill does without."""
    layers = subject.model.network.language_model.model.layers
    attention, seen = layers[0].self_attn, past + rows
    queries_BQTD = torch.randn(
        1, attention.config.num_attention_heads, rows, attention.head_dim, device=subject.device, dtype=subject.dtype
    )
    mask = window_mask(rows, past, subject.device)
    # What lies behind the past is of no matter here, but it has to be there.
    memory.reserve(seen - memory.tokens)

    def run() -> None:
        for layer in range(len(layers) - 1):
            keys, values = memory.keys_LHTD[layer, None, :, :seen], memory.values_LHTD[layer, None, :, :seen]
            attend(attention, queries_BQTD, keys, values, mask)

    return timed(run, subject.device)


def _row(subject: Subject, prefilled: Prefilled, peak_rate: float) -> Row:
    chunks = prefilled.chunks
    own, stock = (sum(getattr(one, name) for one in chunks) for name in ("own", "stock"))
    flops = prefill_flops(_workload(subject, len(chunks)))
    return Row(
        part="prefill",
        case=f"{len(chunks)} chunks, two passes",
        chunks=len(chunks),
        seconds=own,
        bound="the stock model over the same tokens and past",
        bound_s=stock,
        ratio=own / stock,
        target=TARGET,
        peak_bytes=prefilled.peak,
        more={
            "raw tokens/s": len(chunks) * subject.raw_tokens / own,
            "of matrix peak": (flops.low + flops.high) / own / peak_rate,
            "last quarter over first, without attention": without_attention(chunks),
        },
    )


def _single_row(prefilled: Prefilled) -> Row:
    chunks = prefilled.chunks
    single, own = (sum(getattr(one, name) for one in chunks) for name in ("single", "own"))
    return Row(
        part="prefill",
        case=f"{len(chunks)} chunks, single pass",
        chunks=len(chunks),
        seconds=single,
        bound="our two passes",
        bound_s=own,
        ratio=single / own,
        target=SINGLE_TARGET,
    )


def without_attention(chunks: Sequence[ChunkTimes]) -> float:
    """A chunk's time less its attention: of the last quarter of the inner chunks over the first quarter. Medians."""
    inner = [one.own - one.attention for one in chunks[1:-1]]
    quarter = max(1, len(inner) // 4)
    return median(inner[-quarter:]) / median(inner[:quarter])


def _workload(subject: Subject, chunks: int) -> VideoXLWorkload:
    return VideoXLWorkload(
        config=subject.model.network.config, compression=subject.size.compression, dtype=subject.dtype, chunks=chunks
    )
