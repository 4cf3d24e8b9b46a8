"""From answers to accuracies: by condition and by the benchmark's groups, each with its standard error by video."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from videox2l.evaluation.benchmarks.benchmark import Benchmark, Item, Problem
from videox2l.evaluation.benchmarks.records import SELECTED, Record
from videox2l.evaluation.benchmarks.statistics import Estimate, clustered_mean


@dataclass(frozen=True)
class ConditionSummary:
    """One condition.

    ``score``: of all units that were answered in full and whose right answer is public, ``None`` if there are none.
    ``gain``: the selection's score minus this one's, over the units that both have. ``groups``: score by group and
    value. ``no_letter``: answers that named none. ``failed``: questions without an answer, and ``reasons`` why.
    ``degraded``: answers for which chosen chunks could not be had. ``memory_tokens`` and ``bytes_used``: means.
    """

    condition: str
    score: Estimate | None
    gain: Estimate | None
    groups: Mapping[str, Mapping[str, Estimate]]
    answered: int
    no_letter: int
    failed: int
    degraded: int
    reasons: Mapping[str, int]
    memory_tokens: float | None
    bytes_used: float | None


@dataclass(frozen=True)
class Summary:
    """All of a run. ``about``: what was run, in words and numbers. ``chance``: the score of guessing.

    ``tries``: questions that count as one. ``without_answer``: questions whose right answer is not public.
    """

    about: Mapping[str, Any]
    questions: int
    videos: int
    tries: int
    chance: float | None
    without_answer: int
    conditions: Sequence[ConditionSummary]
    problems: Sequence[Problem]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return dataclasses.asdict(self)

    @property
    def lost(self) -> Mapping[str, int]:
        """Questions that are not measured, by kind of problem."""
        counts: Counter[str] = Counter()
        for problem in self.problems:
            counts[problem.kind] += problem.questions
        return counts


def summarise(
    benchmark: Benchmark,
    items: Sequence[Item],
    records: Sequence[Record],
    problems: Iterable[Problem],
    about: Mapping[str, Any],
) -> Summary:
    """What ``records`` say of ``items``. ``problems`` are passed on."""
    of_condition: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        of_condition[record.condition].append(record)
    units = {item.unit: item for item in items}
    scores = {name: _scores(items, rows) for name, rows in of_condition.items()}
    selected = scores.get(SELECTED, {})
    return Summary(
        about,
        len(items),
        len({item.video for item in items}),
        benchmark.tries,
        fmean(item.options**-benchmark.tries for item in units.values()) if units else None,
        sum(not item.answer for item in items),
        [
            _condition(name, of_condition[name], scores[name], selected, units, benchmark.mean_over)
            for name in of_condition
        ],
        tuple(problems),
    )


def _scores(items: Sequence[Item], rows: Sequence[Record]) -> dict[str, float]:
    """1 or 0 for every unit all of whose questions were answered and can be graded: 1 if all are right."""
    correct = {row.item: row.correct for row in rows}
    of_unit: defaultdict[str, list[bool | None]] = defaultdict(list)
    for item in items:
        of_unit[item.unit].append(correct.get(item.id))
    return {unit: float(all(parts)) for unit, parts in of_unit.items() if None not in parts}


def _condition(
    name: str,
    rows: Sequence[Record],
    scores: Mapping[str, float],
    selected: Mapping[str, float],
    units: Mapping[str, Item],
    mean_over: str | None,
) -> ConditionSummary:
    answered = [row for row in rows if not row.error]
    gains = {unit: selected[unit] - score for unit, score in scores.items() if unit in selected}
    groups: dict[str, dict[str, Estimate]] = {}
    for group in next(iter(units.values())).groups:
        by_value: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for unit, score in scores.items():
            by_value[units[unit].groups[group]][unit] = score
        found = {value: _estimate(some, units, None) for value, some in sorted(by_value.items())}
        groups[group] = {value: estimate for value, estimate in found.items() if estimate is not None}
    return ConditionSummary(
        name,
        _estimate(scores, units, mean_over),
        None if name == SELECTED else _estimate(gains, units, mean_over),
        groups,
        len(answered),
        sum(not row.letter or row.guessed for row in answered),
        len(rows) - len(answered),
        sum(row.degraded > 0 for row in answered),
        dict(Counter(row.error for row in rows if row.error)),
        fmean(row.memory_tokens for row in answered) if answered else None,
        fmean(row.bytes_used for row in answered) if answered else None,
    )


def _estimate(scores: Mapping[str, float], units: Mapping[str, Item], mean_over: str | None) -> Estimate | None:
    strata = None if mean_over is None else [units[unit].groups[mean_over] for unit in scores]
    return clustered_mean(list(scores.values()), [units[unit].cluster for unit in scores], strata)
