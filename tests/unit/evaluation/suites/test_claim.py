"""The claim: one question's re-loaded chunks bring back what the gist lost, for a fraction of low-only's bytes.

A small sample of what ``videox2l eval suite`` runs; docs/evaluation.md has the whole.
"""

import pytest

from videox2l.evaluation.suites.methods import DEFAULT, HIGH_ONLY, LOW_ONLY, QUESTION_AWARE, RIGHT_CHUNK
from videox2l.evaluation.suites.metrics import READ_GOALS, RECOVERY_GOAL, claim_rows, hit_rows
from videox2l.evaluation.suites.run import Plan, run


@pytest.mark.parametrize(("scenes", "clips"), [(16, 4), (64, 2)])
def test_default_recovers_detail_and_beats_what_reads_as_much(model, footage, scenes, clips) -> None:
    plan = Plan(scenes=(scenes,), clips=clips, suites=("retrieval",), scorers=("attention",))
    records = list(run(model, footage, plan))
    (row,) = claim_rows(records)
    assert row["low"] - row["high"] > 0.5, "without a gap there is nothing to recover"
    assert row["recovery"] >= RECOVERY_GOAL
    assert row["read"] <= READ_GOALS[scenes]
    for other in row["baselines"]:
        assert other["ahead"] > 0.2, other
        assert other["read"] >= row["read"] - 1e-9, other
    (hits,) = [found for found in hit_rows(records) if found["scorer"] == "attention"]
    assert hits["hit_2"] >= 0.95


def test_every_method_answers_every_question(model, footage) -> None:
    plan = Plan(scenes=(4,), clips=1, scorers=("attention", "attention+keys"))
    records = list(run(model, footage, plan))
    by_method: dict[str, int] = {}
    for record in records:
        by_method[record.method] = by_method.get(record.method, 0) + 1
    assert {LOW_ONLY, HIGH_ONLY, DEFAULT, QUESTION_AWARE, "bi-level, attention+keys"} <= set(by_method)
    with_chunk = sum(record.hit_1 is not None for record in records if record.method == DEFAULT)
    assert by_method.pop(RIGHT_CHUNK) == with_chunk
    assert len(set(by_method.values())) == 1
    assert {record.tokens_read for record in records if record.method == LOW_ONLY} == {4 * 16}
    assert {record.tokens_read for record in records if record.method == DEFAULT} == {4 * 1 + 2 * 16}
