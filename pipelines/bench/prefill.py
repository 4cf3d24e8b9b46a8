"""How fast a device prefills, where the time goes, and what memory it takes: ``videox2l bench prefill``.

Frames are random pixels and weights may be random: neither changes what is computed. Everything is measured in this
process, without Ray, a download, or a video.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from pipelines.bench.flops import matrix_peak, prefill_flops, synchronize
from pipelines.bench.rows.peak_memory import peak_bytes, reset_peak
from videox2l.config import CompressionConfig, to_dict
from videox2l.kv import ChunkKV
from videox2l.models.laps import Laps
from videox2l.models.memory import check_fits, required_bytes
from videox2l.models.transfer import HostCopies
from videox2l.models.video_xl.memory import PROMPT_TOKENS, VideoXLWorkload
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.models.video_xl.prefill import VideoXLPrefill, append_together

Progress = Callable[[str], None]
PARTS = ("vision", "low", "high")

# Enough for every kernel to be loaded and every buffer to be allocated once: a first, an inner and a last chunk.
_WARM_UP_CHUNKS = 3


@dataclass(frozen=True)
class LengthPlan:
    """Videos of ``chunks`` each, before they are run.

    Tokens (raw, and kept by level) and floating-point operations (by formula) are of all videos that run at once.
    ``need_bytes``: estimated.
    """

    chunks: int
    frames: int
    raw_tokens: int
    low_tokens: int
    high_tokens: int
    need_bytes: int
    flops: int


@dataclass(frozen=True)
class LengthFigure:
    """The same, as it was measured.

    ``seconds``: the whole prefill. ``part_s``: of it, vision, the low and the high pass, on the device's own clock
    where it is a GPU. ``copy_s``: copies to the host, which on a GPU run beside the passes. ``tokens_s``: raw visual
    tokens through both levels a second. ``of_peak``: floating-point operations a second as a share of the matrix peak.
    ``peak_bytes``: the most memory held, weights included; on a CPU the whole process. ``exact_s``: of a single pass,
    what the exact prefill took in the same run.
    """

    plan: LengthPlan
    seconds: float
    part_s: dict[str, float]
    copy_s: float
    tokens_s: float
    frames_s: float
    of_peak: float
    peak_bytes: int | None
    exact_s: float | None = None


@dataclass(frozen=True)
class Report:
    """All figures of one run, of ``videos`` at once.

    ``matrix_peak``: operations a second of large products in ``dtype`` on ``device``.
    """

    model: str
    parameters: int
    device: str
    dtype: str
    attention: str
    compression: CompressionConfig
    videos: int
    matrix_peak: float
    figures: tuple[LengthFigure, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"compression": to_dict(self.compression)}


@dataclass(frozen=True)
class _Times:
    """As in :class:`LengthFigure`."""

    seconds: float
    part_s: dict[str, float]
    copy_s: float


def plan(work: VideoXLWorkload, device: torch.device, lengths: Sequence[int]) -> list[LengthPlan]:
    """What would be run: ``work`` with each length of ``lengths`` (chunks). Nothing is allocated."""
    return [_plan(replace(work, chunks=chunks), device) for chunks in sorted(set(lengths))]


def measure(
    network: VideoXLNetwork, name: str, work: VideoXLWorkload, lengths: Sequence[int], progress: Progress
) -> Report:
    """Prefill ``work.videos`` videos at once, of each length in ``lengths`` (chunks), after short ones to warm up.

    :raises ModelError: the longest do not fit beside the weights, which are there; said before anything is run.
    """
    model = network.language_model
    device = model.device
    plans = plan(work, device, lengths)
    check_fits(replace(work, chunks=plans[-1].chunks), device, loaded=True)
    progress("warming up")
    _run(network, replace(work, chunks=_WARM_UP_CHUNKS))
    progress("measuring the matrix peak")
    peak = matrix_peak(device, model.dtype)
    measured = []
    for one in plans:
        progress(f"prefilling {one.chunks} chunks")
        turn = replace(work, chunks=one.chunks)
        measured.append((one, *_timed(network, turn), _exact_seconds(network, turn)))
    progress("measuring the matrix peak again")  # other work on the machine may have slowed the first measurement
    peak = max(peak, matrix_peak(device, model.dtype))
    return Report(
        model=name,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        device=device_name(device),
        dtype=str(model.dtype).removeprefix("torch."),
        attention=str(model.config._attn_implementation),
        compression=work.compression,
        videos=work.videos,
        matrix_peak=peak,
        figures=tuple(_figure(*one, peak) for one in measured),
    )


def device_name(device: torch.device) -> str:
    """What a GPU calls itself; of others, their kind."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _plan(work: VideoXLWorkload, device: torch.device) -> LengthPlan:
    low, high = (one.kept_tokens for one in work.plans())
    return LengthPlan(
        chunks=work.chunks,
        frames=work.videos * work.chunks * work.compression.frames_per_chunk,
        raw_tokens=work.videos * work.chunks * work.raw_tokens,
        low_tokens=work.videos * low,
        high_tokens=work.videos * high,
        need_bytes=required_bytes(work, mask=device.type != "cuda").total,
        flops=work.videos * prefill_flops(work).total,
    )


def _timed(network: VideoXLNetwork, work: VideoXLWorkload) -> tuple[_Times, int | None]:
    """Times of a run, and the most memory that was held in it."""
    device = network.language_model.device
    reset_peak(device)
    synchronize(device)
    began = time.perf_counter()
    part_s, copy_s = _run(network, work)
    return _Times(time.perf_counter() - began, part_s, copy_s), peak_bytes(device)


def _exact_seconds(network: VideoXLNetwork, work: VideoXLWorkload) -> float | None:
    """Of the exact prefill in place of a single pass."""
    if work.compression.prefill == "exact":
        return None
    times, _ = _timed(network, replace(work, compression=replace(work.compression, prefill="exact")))
    return times.seconds


def _figure(
    planned: LengthPlan, times: _Times, peak_memory: int | None, exact_s: float | None, matrix_peak: float
) -> LengthFigure:
    return LengthFigure(
        plan=planned,
        seconds=times.seconds,
        part_s=times.part_s,
        copy_s=times.copy_s,
        tokens_s=planned.raw_tokens / times.seconds,
        frames_s=planned.frames / times.seconds,
        of_peak=planned.flops / times.seconds / matrix_peak,
        peak_bytes=peak_memory,
        exact_s=exact_s,
    )


@torch.inference_mode()
def _run(network: VideoXLNetwork, work: VideoXLWorkload) -> tuple[dict[str, float], float]:
    """Prefill ``work``; seconds by part, and of the copies to the host. Returns when all of it is done."""
    device = network.language_model.device
    laps, copies, copy_s = Laps(device), HostCopies(device), 0.0
    frames, frame = work.compression.frames_per_chunk, network.config.frame_format
    frames_FHWC = torch.randint(256, (work.videos * frames, frame.height, frame.width, 3), dtype=torch.uint8)
    prefills = [_start(network, work) for _ in range(work.videos)]
    for prefill in prefills:
        prefill.after_pass = laps.end

    def computed() -> Iterator[tuple[int, ChunkKV]]:
        for index in range(work.chunks):
            laps.begin()
            visual_tokens = network.visual_tokens(frames_FHWC).split(work.raw_tokens)
            laps.end("vision")
            kvs = append_together(prefills, visual_tokens, [index == work.chunks - 1] * work.videos)
            yield from enumerate(kvs)

    for _, copy in copies.each(computed()):
        copy_s += copy.seconds
    return laps.seconds(), copy_s


def _start(network: VideoXLNetwork, work: VideoXLWorkload) -> VideoXLPrefill:
    prompt_T = torch.arange(PROMPT_TOKENS) % network.config.text.vocab_size
    prefill = VideoXLPrefill(network.language_model, network.vst, prompt_T, work.compression)
    prefill.expect(work.chunks, work.raw_tokens)
    return prefill
