"""What an ingest will cost, and when it pays: arithmetic on a plan and on a few measured times, without a model.

**A chunk.** A pass over a chunk computes ``w`` rows, its raw tokens and VSTs, while ``m`` tokens are in the pass's
memory: ``w · token_s + w · m · pair_s`` seconds, the second term for attention. Memory grows by a chunk's VSTs, so a
video's cost has a part that grows with the square of its length. Frames are encoded once for both passes. In a single
pass the low level's rows are its VSTs alone.

**When prefilling pays off.** Asked directly, a model without an archive would make the low pass over the video for each
question and answer over the whole low memory (no more than an uncompressed forward would cost, so this is the careful
comparison). With an archive each question loads all high KVs and a few low ones, selects, and answers over the mix.
So n questions on each video cost

    prefill · p + storage + n · question · p    against    n · direct · p

with p the price of a second of the device; prefilling pays off from the smallest n at which the left is not more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from pipelines.ingest.summary import size
from videox2l.config import CompressionConfig, SelectionConfig

GB = 10**9
"""Storage is billed in decimal gigabytes."""

HOUR_S = 3600.0

PRICE_PER_GB_MONTH = 0.023
"""US dollars: list price of S3 Standard, first 50 TB, us-east-1."""

PRICE_PER_DEVICE_HOUR = {"cuda": 2.50, "cpu": 0.05}
"""US dollars, rounded: one data-centre GPU with 80 GB on demand; one virtual CPU of a general-purpose machine."""

MONTHS = 1.0
"""For which storage counts when it is asked from when on prefilling pays off."""

LOAD_BYTES_PER_S = 500e6
"""Of KVs from object storage, one client: what docs/measurements.md shows. The device waits meanwhile."""


@dataclass(frozen=True)
class Prices:
    """In one currency. ``per_device_hour``: of one prefill actor's device, or None for the default of its kind."""

    per_gb_month: float = PRICE_PER_GB_MONTH
    per_device_hour: float | None = None

    def device_second(self, device: str) -> float:
        given = self.per_device_hour
        return (PRICE_PER_DEVICE_HOUR[_kind(device)] if given is None else given) / HOUR_S


@dataclass(frozen=True)
class Line:
    """``fixed_s + per_token_s · tokens``."""

    fixed_s: float
    per_token_s: float

    def at(self, tokens: float) -> float:
        return self.fixed_s + self.per_token_s * tokens

    @classmethod
    def through(cls, a: tuple[float, float], b: tuple[float, float]) -> Line:
        """The line through two points (tokens, seconds). One that would fall, through noise, is level at their mean."""
        (x0, y0), (x1, y1) = a, b
        if x1 <= x0 or y1 < y0:
            return cls((y0 + y1) / 2, 0.0)
        slope = (y1 - y0) / (x1 - x0)
        return cls(max(0.0, y0 - slope * x0), slope)


@dataclass(frozen=True)
class Costs:
    """Measured seconds: to encode a frame; for a row of a pass, and for each pair of a row and a memory token; for a
    question over mixed KVs and for an answer alone, by the tokens in memory."""

    frame_s: float
    token_s: float
    pair_s: float
    question: Line
    answer: Line


@dataclass(frozen=True)
class Calibration:
    """Costs on one device: as measured at best, in the middle, and at worst. ``memory_tokens`` of the low pass were the
    most that was tried."""

    device: str
    best: Costs
    usual: Costs
    worst: Costs
    memory_tokens: int


@dataclass(frozen=True)
class VideoSize:
    """A planned video. ``frames`` are those of its ``chunks`` behind the first ``kept``, which are stored already."""

    chunks: int
    kept: int
    frames: int
    duration_s: float
    low_bytes: int
    high_bytes: int


@dataclass(frozen=True)
class Estimate:
    """Sums over the videos that are to be prefilled; times in seconds of one device.

    ``prefill_s`` with its range as measured. ``question_s`` and ``direct_s``: one question on each video, from its KVs
    and without them. ``pays_off_after``: questions on each video, or None where asking directly is always cheaper.
    """

    device: str
    videos: int
    duration_s: float
    frames: int
    chunks: int
    low_bytes: int
    high_bytes: int
    prefill_s: float
    prefill_range_s: tuple[float, float]
    prefill_price: float
    storage_price_per_month: float
    question_s: float
    direct_s: float
    pays_off_after: int | None
    free_bytes: int | None = None

    @property
    def bytes(self) -> int:
        return self.low_bytes + self.high_bytes

    def lines(self) -> list[str]:
        """For people."""
        kind = "GPU" if _kind(self.device) == "cuda" else "CPU"
        best, worst = (seconds / HOUR_S for seconds in self.prefill_range_s)
        lines = [
            f"to prefill: {self.videos} videos, {self.duration_s / HOUR_S:.3g} h, {self.frames} frames, "
            f"{self.chunks} chunks; low {size(self.low_bytes)}, high {size(self.high_bytes)}",
            f"prefill: {self.prefill_s / HOUR_S:.3g} {kind} hours (as measured {best:.3g} to {worst:.3g}; decoding "
            f"runs beside it), {_money(self.prefill_price)}",
            f"storage: {self.bytes / GB:.3g} GB, {_money(self.storage_price_per_month)} a month",
        ]
        if self.free_bytes is not None:
            enough = "" if self.free_bytes >= self.bytes else ": NOT ENOUGH"
            lines.append(f"free on the archive's disk: {size(self.free_bytes)}{enough}")
        if self.videos:
            each, direct = self.question_s / self.videos, self.direct_s / self.videos
            after = (
                "asking without an archive is always cheaper"
                if self.pays_off_after is None
                else f"prefilling pays off after {self.pays_off_after} on each video, kept for {MONTHS:g} month"
            )
            lines.append(f"a question: {each:.3g} s with the archive, {direct:.3g} s without; {after}")
        return lines

    def __rich__(self) -> Text:
        return Text("\n".join(self.lines()))


def estimate(
    videos: Sequence[VideoSize],
    compression: CompressionConfig,
    tokens_per_frame: int,
    calibration: Calibration,
    prices: Prices,
    free_bytes: int | None = None,
) -> Estimate:
    """What prefilling ``videos`` costs; ``tokens_per_frame`` are the model's raw visual tokens.

    The first and last chunk are counted like the others, though both levels may have the low ratio there.
    """

    def prefill(costs: Costs) -> float:
        return sum(prefill_s(video, compression, tokens_per_frame, costs) for video in videos)

    usual = calibration.usual
    question = sum(question_s(video, compression, tokens_per_frame, usual) for video in videos)
    direct = sum(direct_s(video, compression, tokens_per_frame, usual) for video in videos)
    low, high = sum(video.low_bytes for video in videos), sum(video.high_bytes for video in videos)
    second = prices.device_second(calibration.device)
    once, month = prefill(usual) * second, (low + high) / GB * prices.per_gb_month
    return Estimate(
        device=calibration.device,
        videos=len(videos),
        duration_s=sum(video.duration_s for video in videos),
        frames=sum(video.frames for video in videos),
        chunks=sum(video.chunks - video.kept for video in videos),
        low_bytes=low,
        high_bytes=high,
        prefill_s=prefill(usual),
        prefill_range_s=(prefill(calibration.best), prefill(calibration.worst)),
        prefill_price=once,
        storage_price_per_month=month,
        question_s=question,
        direct_s=direct,
        pays_off_after=pays_off_after(once + month * MONTHS, question * second, direct * second),
        free_bytes=free_bytes,
    )


def prefill_s(video: VideoSize, compression: CompressionConfig, tokens_per_frame: int, costs: Costs) -> float:
    """Seconds for both levels of the chunks of ``video`` that are not kept."""
    high = _pass_s(video, video.kept, compression.high_ratio, tokens_per_frame, costs)
    with_raw = bool(compression.made_by("low"))
    low = _pass_s(video, video.kept, compression.low_ratio, tokens_per_frame, costs, with_raw=with_raw)
    return video.frames * costs.frame_s + low + high


def direct_s(video: VideoSize, compression: CompressionConfig, tokens_per_frame: int, costs: Costs) -> float:
    """Seconds for a question without an archive: the low pass over the whole video, and an answer over its memory."""
    frames = _frames_per_chunk(video) * video.chunks
    memory = frames * tokens_per_frame / compression.low_ratio
    vision = frames * costs.frame_s
    return vision + _pass_s(video, 0, compression.low_ratio, tokens_per_frame, costs) + costs.answer.at(memory)


def question_s(video: VideoSize, compression: CompressionConfig, tokens_per_frame: int, costs: Costs) -> float:
    """Seconds for a question from the archive: all high KVs and those of the best chunks at low compression."""
    reloaded = min(SelectionConfig().top_k, video.chunks)
    tokens = _frames_per_chunk(video) * tokens_per_frame
    memory = tokens * ((video.chunks - reloaded) / compression.high_ratio + reloaded / compression.low_ratio)
    loaded = video.high_bytes + video.low_bytes * reloaded / video.chunks
    return loaded / LOAD_BYTES_PER_S + costs.question.at(memory)


def pays_off_after(once: float, question: float, direct: float) -> int | None:
    """The smallest n with ``once + n · question <= n · direct``; None if there is none."""
    if direct <= question:
        return None
    return math.ceil(once / (direct - question))


def _pass_s(
    video: VideoSize, first: int, ratio: int, tokens_per_frame: int, costs: Costs, *, with_raw: bool = True
) -> float:
    """One level of chunks ``first``, ``first`` + 1, … of ``video``: all rows of a pass, or its VSTs alone."""
    tokens = _frames_per_chunk(video) * tokens_per_frame
    kept = tokens / ratio
    rows = kept + tokens * with_raw
    chunks = video.chunks - first
    chunks_before = (video.chunks * (video.chunks - 1) - first * (first - 1)) / 2  # 0 + 1 + 2 + … over these chunks
    return rows * (chunks * costs.token_s + chunks_before * kept * costs.pair_s)


def _frames_per_chunk(video: VideoSize) -> float:
    return video.frames / max(1, video.chunks - video.kept)


def _kind(device: str) -> str:
    return "cuda" if device.startswith("cuda") else "cpu"


def _money(amount: float) -> str:
    """Cents, and of smaller amounts the first digits."""
    return f"{amount:.2f} $" if amount >= 0.1 or amount == 0 else f"{amount:.2g} $"
