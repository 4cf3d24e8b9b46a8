"""Four ways to answer questions about a video, and what each costs: arithmetic on a few measured times.

* ``direct``: the model sees the whole video for each question. Nothing is kept.
* ``full``: it sees the video once, and all its KVs are stored. A question reads them all.
* ``high``: one pass at the high ratio. A question reads the gist and answers from it, without any detail.
* ``selected``: Video-X²L. Both passes once; a question reads the gist, chooses, and reads a few chunks in detail.

With R raw visual tokens, r rows of a pass and m tokens in its memory, a pass takes ``r · token_s + r · m · pair_s``
seconds: :mod:`pipelines.ingest.estimate` says how these are measured. A dense pass has R rows that
see R / 2 tokens each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pipelines.ingest.estimate import GB, HOUR_S, LOAD_BYTES_PER_S, Costs, Prices, pays_off_after
from videox2l.config import CompressionConfig

Way = Literal["direct", "full", "high", "selected"]
WAYS: tuple[Way, ...] = get_args(Way)


@dataclass(frozen=True)
class Case:
    """What is planned.

    ``bytes_per_token``: of one token's KVs. ``top_k``: chunks that a question re-loads in detail. ``questions``: on
    each video while it is kept, ``months``. ``resident``: KVs of the gist (with ``full``, all KVs) are in memory
    already, as on a busy service; otherwise every question reads them.
    """

    compression: CompressionConfig
    tokens_per_frame: int
    bytes_per_token: int
    context_length: int
    fps: float = 1.0
    top_k: int = 2
    questions: int = 20
    months: float = 1.0
    resident: bool = False
    read_bytes_per_s: float = LOAD_BYTES_PER_S


@dataclass(frozen=True)
class WayCosts:
    """One way for one video. Seconds are of one device; prices are in dollars.

    ``before_s``: once, before the first question. ``read_s`` of ``question_s`` go into reading. ``price``: of a
    question with its share of everything else. ``pays_off_after``: questions from which on it is cheaper than asking
    directly; ``None`` where it never is. ``fits``: the memory is within the context that the model was made for.
    """

    way: Way
    hours: float
    before_s: float
    stored_bytes: int
    read_bytes: int
    read_s: float
    question_s: float
    memory_tokens: int
    price: float
    pays_off_after: int | None
    fits: bool


@dataclass(frozen=True)
class _Use:
    """Of a way: seconds before the first question, tokens stored and read, tokens in memory, the model's seconds."""

    before_s: float
    stored: float
    read: float
    memory: float
    model_s: float


def plan(hours: Sequence[float], case: Case, costs: Costs, prices: Prices, device: str) -> list[WayCosts]:
    """All ways for a video of each length."""
    return [
        found for length in hours for found in _one_length(length, case, costs, prices.device_second(device), prices)
    ]


def _one_length(hours: float, case: Case, costs: Costs, second: float, prices: Prices) -> list[WayCosts]:
    uses = {"direct": _direct, "full": _full, "high": _high, "selected": _selected}
    chunks = max(1, math.ceil(hours * HOUR_S * case.fps / case.compression.frames_per_chunk))
    found: list[WayCosts] = []
    for way in WAYS:
        use = uses[way](chunks, case, costs)
        stored, read = round(use.stored * case.bytes_per_token), round(use.read * case.bytes_per_token)
        read_s = read / case.read_bytes_per_s
        question_s = read_s + use.model_s
        once = use.before_s * second + stored / GB * prices.per_gb_month * case.months
        direct_s = found[0].question_s if found else question_s
        found.append(
            WayCosts(
                way=way,
                hours=hours,
                before_s=use.before_s,
                stored_bytes=stored,
                read_bytes=read,
                read_s=read_s,
                question_s=question_s,
                memory_tokens=round(use.memory),
                price=once / case.questions + question_s * second,
                pays_off_after=pays_off_after(once, question_s * second, direct_s * second),
                fits=use.memory <= case.context_length,
            )
        )
    return found


def _direct(chunks: int, case: Case, costs: Costs) -> _Use:
    raw = _raw(chunks, case)
    return _Use(0.0, 0, 0, raw, _dense_s(chunks, case, costs) + costs.answer.at(raw))


def _full(chunks: int, case: Case, costs: Costs) -> _Use:
    raw = _raw(chunks, case)
    return _Use(_dense_s(chunks, case, costs), raw, 0 if case.resident else raw, raw, costs.answer.at(raw))


def _high(chunks: int, case: Case, costs: Costs) -> _Use:
    kept = _raw(chunks, case) / case.compression.high_ratio
    before = _vision_s(chunks, case, costs) + _pass_s(chunks, case.compression.high_ratio, case, costs)
    return _Use(before, kept, 0 if case.resident else kept, kept, costs.answer.at(kept))


def _selected(chunks: int, case: Case, costs: Costs) -> _Use:
    ratios = case.compression
    low, high = (_raw(1, case) / ratio for ratio in (ratios.low_ratio, ratios.high_ratio))
    detailed = min(case.top_k, chunks)
    passes = sum(_pass_s(chunks, ratio, case, costs) for ratio in (ratios.low_ratio, ratios.high_ratio))
    memory = (chunks - detailed) * high + detailed * low
    read = detailed * low + (0 if case.resident else chunks * high)
    before = _vision_s(chunks, case, costs) + passes
    return _Use(before, chunks * (low + high), read, memory, costs.question.at(memory))


def _raw(chunks: int, case: Case) -> float:
    return chunks * case.compression.frames_per_chunk * case.tokens_per_frame


def _vision_s(chunks: int, case: Case, costs: Costs) -> float:
    return chunks * case.compression.frames_per_chunk * costs.frame_s


def _dense_s(chunks: int, case: Case, costs: Costs) -> float:
    """Vision, and one pass of all raw tokens, each of which sees those before it."""
    raw = _raw(chunks, case)
    return _vision_s(chunks, case, costs) + raw * costs.token_s + raw * raw / 2 * costs.pair_s


def _pass_s(chunks: int, ratio: int, case: Case, costs: Costs) -> float:
    """A compressing pass: a chunk's raw tokens and VSTs see the VSTs of the chunks before."""
    raw = _raw(1, case)
    rows, kept = raw * (1 + 1 / ratio), raw / ratio
    return rows * (chunks * costs.token_s + chunks * (chunks - 1) / 2 * kept * costs.pair_s)
