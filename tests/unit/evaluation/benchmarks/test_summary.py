from __future__ import annotations

import json
from pathlib import Path

import pytest

from videox2l.config import SelectionConfig
from videox2l.errors import ConfigError
from videox2l.evaluation.benchmarks import Item, Problem, benchmark
from videox2l.evaluation.benchmarks.markdown import render
from videox2l.evaluation.benchmarks.records import Asking, Record
from videox2l.evaluation.benchmarks.summary import summarise

ABOUT = {"title": "VNBench", "model": "tiny", "selection": "attention"}


def tries(video: str, task: str) -> list[Item]:
    groups = {"task": task, "ability": "retrieval"}
    return [Item(f"{video}:{n}", Path(video), "?", 4, "A", groups, video, video) for n in range(4)]


def records(items: list[Item], condition: str, correct: list[bool | None]) -> list[Record]:
    return [
        Record(item.id, condition, "?", "A", "A", "A", correct=right, error="" if right is not None else "too long")
        for item, right in zip(items, correct, strict=True)
    ]


def test_four_tries_count_once_and_tasks_count_alike():
    one, two, three = tries("v1", "ret"), tries("v2", "ret"), tries("v3", "ord")
    items = [*one, *two, *three]
    rows = records(items, "selected", [True] * 4 + [True] * 3 + [False] + [True] * 4)
    rows += records(items, "low only", [True] * 4 + [False] * 4 + [None] + [True] * 3)
    summary = summarise(benchmark("vnbench"), items, rows, [Problem("missing_video", "v9:0", "no v9.mp4")], ABOUT)
    selected, low = summary.conditions
    assert selected.score is not None
    assert selected.score.mean == pytest.approx((0.5 + 1) / 2)  # of ret, one of two; of ord, one of one
    assert selected.groups["task"]["ret"].mean == 0.5
    assert selected.groups["ability"]["retrieval"].mean == pytest.approx(2 / 3)
    # v3 has no answer to one of its tries: it is not scored, and the gain is over the others.
    assert low.score is not None
    assert low.gain is not None
    assert (low.score.count, low.failed, low.reasons) == (2, 1, {"too long": 1})
    assert low.gain.mean == 0
    assert summary.chance == pytest.approx(1 / 256)

    text = render(summary)
    assert "12 questions about 3 videos" in text
    assert "**low only** gave no answer to 1 questions" in text
    assert "- v9:0: no v9.mp4" in text
    json.dumps(summary.to_dict())


def test_questions_without_a_public_answer_are_not_scored():
    item = Item("q", Path("v"), "?", 5, "", {"topic": "x"}, "q", "v")
    summary = summarise(benchmark("longvideobench"), [item], [Record("q", "selected", "?", "", "B", "B")], [], ABOUT)
    assert summary.conditions[0].score is None
    assert "The right answers to 1 questions are not public" in render(summary)


@pytest.mark.parametrize(
    "selection", [SelectionConfig("best"), SelectionConfig("attention+best"), SelectionConfig(policy="most")]
)
def test_impossible_selections_are_refused_at_once(selection: SelectionConfig):
    with pytest.raises(ConfigError):
        Asking(selection)


@pytest.mark.parametrize("select", ["attention", "keys+attention", "all", "none", "0,4-6"])
def test_possible_selections(select: str):
    assert Asking(SelectionConfig(select)).selection.select == select
