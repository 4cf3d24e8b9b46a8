"""What records say: shares with confidence intervals. Clips are resampled, since a clip's questions go together."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videox2l.evaluation.suites.methods import DEFAULT, EQUAL_BYTES, HIGH_ONLY, LOW_ONLY, PRESS
from videox2l.evaluation.suites.run import Record
from videox2l.evaluation.suites.tasks import DETAIL

_RESAMPLES = 2000
_Z95 = 1.959964  # normal quantile of a two-sided 95 % interval

RECOVERY_GOAL = 0.95
"""Share of the gap between high only and low only."""

READ_GOALS = {16: 0.20, 64: 0.10}
"""Share of low-only's bytes that may be read, by the clip's chunks."""

Interval = tuple[float, float]


def wilson(right: int, count: int) -> Interval:
    """95 % interval of a share by Wilson's score: sensible at 0 and 1 and for few questions, too."""
    share, z2 = right / count, _Z95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def grouped(records: Iterable[Record], key: Callable[[Record], Hashable]) -> dict[Any, list[Record]]:
    """Records by ``key``, in their order."""
    found: dict[Any, list[Record]] = defaultdict(list)
    for record in records:
        found[key(record)].append(record)
    return dict(found)


def accuracy_rows(records: Sequence[Record], *fields: str) -> list[dict[str, Any]]:
    """One row for each combination of ``fields`` and method: questions, accuracy with its interval, share read."""
    names = (*fields, "method")
    return [
        {**dict(zip(names, key, strict=True)), **_shares(group)}
        for key, group in grouped(records, lambda record: tuple(getattr(record, name) for name in names)).items()
    ]


def hit_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """How often a scorer's first one and two chunks held the answer to a detail question, by length."""
    scored = [record for record in records if record.hit_1 is not None and record.suite == DETAIL]
    rows = []
    for (scenes, method), group in grouped(scored, lambda record: (record.scenes, record.method)).items():
        hits = {count: sum(bool(getattr(record, f"hit_{count}")) for record in group) for count in (1, 2)}
        row: dict[str, Any] = {"scenes": scenes, "scorer": method.removeprefix("bi-level, "), "questions": len(group)}
        for count, number in hits.items():
            row |= {f"hit_{count}": number / len(group), f"hit_{count}_interval": wilson(number, len(group))}
        rows.append(row)
    return rows


def claim_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """For each length: how much of the gap the default recovers, what it reads, and how it fares against each baseline.

    ``recovery`` is ``(default - high only) / (low only - high only)`` on detail questions. A baseline's ``ahead`` is
    the default's accuracy less its own, over the same questions.
    """
    rows = []
    for scenes, group in grouped([record for record in records if record.suite == DETAIL], lambda r: r.scenes).items():
        right = {name: _by_clip(found) for name, found in grouped(group, lambda record: record.method).items()}
        share = {name: _shares(found) for name, found in grouped(group, lambda record: record.method).items()}
        low, high, ours = (share[name]["accuracy"] for name in (LOW_ONLY, HIGH_ONLY, DEFAULT))
        gap = low - high
        recovery = _resampled(_recovery, right[LOW_ONLY], right[HIGH_ONLY], right[DEFAULT])
        baselines = [
            {
                "method": name,
                "accuracy": share[name]["accuracy"],
                "read": share[name]["read"],
                "ahead": ours - share[name]["accuracy"],
                "ahead_interval": _resampled(lambda a, b: a - b, right[DEFAULT], right[name]),
            }
            for name in (*EQUAL_BYTES, *(name for name in right if name.startswith(PRESS)))
        ]
        read = share[DEFAULT]["read"]
        rows.append(
            {
                "scenes": scenes,
                "questions": share[DEFAULT]["questions"],
                "low": low,
                "high": high,
                "default": ours,
                "recovery": (ours - high) / gap if gap > 0 else None,
                "recovery_interval": recovery,
                "read": read,
                "read_goal": READ_GOALS.get(scenes),
                "baselines": baselines,
            }
        )
    return rows


def _recovery(
    low_R: NDArray[np.float64], high_R: NDArray[np.float64], ours_R: NDArray[np.float64]
) -> NDArray[np.float64]:
    return (ours_R - high_R) / np.maximum(low_R - high_R, 1e-9)  # without a gap nothing can be recovered


def _shares(records: Sequence[Record]) -> dict[str, Any]:
    by_clip = _by_clip(records)
    right, count = by_clip.sum(0).tolist()
    spread = _resampled(lambda share: share, by_clip)
    # Where all are right or all wrong, resampling knows no doubt: there Wilson's interval.
    interval = wilson(int(right), int(count)) if spread[0] == spread[1] else spread
    read = sum(record.tokens_read for record in records) / sum(record.low_tokens for record in records)
    return {"questions": int(count), "accuracy": right / count, "interval": interval, "read": read}


def _by_clip(records: Sequence[Record]) -> NDArray[np.float64]:
    """``[clips, 2]``: right answers and questions of each clip, by the clip's number (and length)."""
    counts: dict[tuple[int, int], list[int]] = {}
    for record in records:
        count = counts.setdefault((record.scenes, record.clip), [0, 0])
        count[0] += record.right
        count[1] += 1
    return np.array([counts[clip] for clip in sorted(counts)], dtype=np.float64)


def _resampled(statistic: Callable[..., NDArray[np.float64]], *by_clip: NDArray[np.float64]) -> Interval:
    """95 % interval of a statistic of accuracies, by resampling the clips that they share."""
    rng = np.random.default_rng(0)
    chosen_RC = rng.integers(len(by_clip[0]), size=(_RESAMPLES, len(by_clip[0])))
    sums = [counts[chosen_RC].sum(1) for counts in by_clip]
    values = statistic(*(of_R2[:, 0] / of_R2[:, 1] for of_R2 in sums))
    lowest, highest = np.quantile(values, [0.025, 0.975])
    return float(lowest), float(highest)
