"""Everything that one run of the suites measures, as one JSON document."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from videox2l.evaluation.suites.footage import film
from videox2l.evaluation.suites.methods import DEFAULT, HIGH_ONLY, LOW_ONLY
from videox2l.evaluation.suites.metrics import READ_GOALS, accuracy_rows, claim_rows, hit_rows
from videox2l.evaluation.suites.run import Plan, Record, most_keys, run
from videox2l.evaluation.suites.tasks import DETAIL
from videox2l.evaluation.suites.timing import time_scorers
from videox2l.models import KVCompressibleModel

NEEDLE_METHODS = (LOW_ONLY, DEFAULT, "uniform compression", HIGH_ONLY)

_REFERENCE_EDGE = 2
"""Ratio that the reference implementation gives a video's first and last chunk at both levels."""

_REELS = 2  # every key twice, with other codes, motion and neighbours


def measure(
    model: KVCompressibleModel, plan: Plan, progress: Callable[[str], None] = lambda _: None, *, timing: bool = True
) -> dict[str, Any]:
    """Film, compose, ask, and summarise. ``timing``: also what scorers cost, which takes videos of its own."""
    progress("rendering scenes")
    footage = film(model, scenes=most_keys(plan), reels=_REELS, seed=plan.seed)
    records = list(run(model, footage, plan, progress))
    reference = list(run(model, footage, _with_reference_ends(plan), progress))
    found = summarise(plan, records, reference)
    return found | {"model": model.name, "timing": time_scorers(model, plan, progress) if timing else []}


def summarise(plan: Plan, records: Sequence[Record], reference: Sequence[Record]) -> dict[str, Any]:
    """The tables of a report. ``reference``: records with the reference implementation's policy for the ends."""
    detail = [record for record in records if record.suite == DETAIL]
    main = [record for record in records if record.method in (LOW_ONLY, HIGH_ONLY, DEFAULT)]
    return {
        "plan": dataclasses.asdict(plan),
        "accuracy": accuracy_rows(records, "scenes", "suite"),
        "variants": accuracy_rows(main, "suite", "variant"),
        "needle": accuracy_rows([record for record in detail if record.method in NEEDLE_METHODS], "scenes", "depth"),
        "hits": hit_rows(records),
        "claim": claim_rows(records),
        "claim_reference_ends": claim_rows(reference),
    }


def _with_reference_ends(plan: Plan) -> Plan:
    """Detail questions alone, on the lengths that the goals are for."""
    lengths = tuple(scenes for scenes in plan.scenes if scenes in READ_GOALS)
    return dataclasses.replace(
        plan, suites=(DETAIL,), scenes=lengths, edge=_REFERENCE_EDGE, scorers=(DEFAULT.removeprefix("bi-level, "),)
    )
