"""Which question is asked of which video, what a row may say of how to answer, and what makes a job another one."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pyarrow as pa
import pytest

from pipelines.batch import BatchSettings, Plan
from pipelines.batch.plan import Ask, Unit, digest, make_plan
from tests.batch.catalogs import CHUNKS, HIGH_BYTES, LOW_BYTES, OTHER, OURS, video
from videox2l import GenerationConfig, SelectionConfig
from videox2l.errors import ConfigError
from videox2l.store.lookup import VideoEntry

VIDEOS = [
    video("cam-1.mp4", floor=3, camera="north", tags=["a", "b"]),
    video("cam-2.mp4", floor=4, camera="north east"),
    video("cam-3.mp4", OTHER, floor=3),
    video("lecture.mp4", OTHER, OURS),
    video("[odd].mp4"),
]
NAMES = {entry.video_id: entry.name for entry in VIDEOS}


def plan_of(*rows: dict[str, Any], filters: list[str] | None = None, videos: list[VideoEntry] = VIDEOS) -> Plan:
    return make_plan(pa.Table.from_pylist(list(rows)), videos, OURS, filters)


def asked(plan: Plan) -> list[tuple[str, int]]:
    """(video, row) of everything that would be asked, by row."""
    found = [(NAMES[video_id], ask.row) for video_id, asks in plan.asks.items() for ask in asks]
    return sorted(found, key=lambda pair: pair[1])


def only_ask(row: dict[str, Any]) -> Ask:
    plan = plan_of({"video": "cam-1.mp4", "question": "What?"} | row)
    assert not plan.failed, plan.failed
    ((ask,),) = plan.asks.values()
    return ask


MEANT = {
    "cam-1.mp4": ["cam-1.mp4"],
    "file:///videos/cam-1.mp4": ["cam-1.mp4"],
    "/videos/cam-1.mp4": ["cam-1.mp4"],
    VIDEOS[1].video_id: ["cam-2.mp4"],
    VIDEOS[1].video_id[:8]: ["cam-2.mp4"],
    " cam-1.mp4 ": ["cam-1.mp4"],
    "cam-?.mp4": ["cam-1.mp4", "cam-2.mp4", "cam-3.mp4"],
    "cam-[12].mp4": ["cam-1.mp4", "cam-2.mp4"],
    # A video that is called so comes before what its name would mean as a glob.
    "[odd].mp4": ["[odd].mp4"],
}


@pytest.mark.parametrize("text", MEANT)
def test_a_row_names_its_videos(text: str) -> None:
    plan = plan_of({"video": text, "question": "What?"})
    assert [target.video_name for target in plan.targets] == MEANT[text]
    assert asked(plan) == [(name, row) for row, name in enumerate(MEANT[text])]


UNKNOWN = {
    "": "names no video",
    None: "names no video",
    "cam-9.mp4": "Did you mean",
    "dog-*": "no video of the archive",
}


@pytest.mark.parametrize("text", UNKNOWN)
def test_a_row_that_names_none_is_a_row_with_a_reason(text: str | None) -> None:
    plan = plan_of({"video": "cam-1.mp4", "question": "What?"}, {"video": text, "question": "What?"})
    assert [(target.source, target.video_id is None) for target in plan.targets] == [(0, False), (1, True)]
    assert asked(plan) == [("cam-1.mp4", 0)]
    assert UNKNOWN[text] in str(plan.failed[1])


def test_rows_are_counted_over_all_videos_and_grouped_by_video() -> None:
    plan = plan_of(
        {"video": "lecture.mp4", "question": "a"},
        {"video": "cam-[12].mp4", "question": "b"},
        {"video": "cam-2.mp4", "question": "c"},
    )
    assert [target.source for target in plan.targets] == [0, 1, 1, 2]
    assert plan.questions == 4
    first, *others = plan.units(done=set())  # the video with the most questions first: it takes the longest
    assert (NAMES[first.video_id], [ask.row for ask in first.asks]) == ("cam-2.mp4", [2, 3])
    assert [len(unit.asks) for unit in others] == [1, 1]
    left = plan.units(done={0, 2})
    assert {(NAMES[unit.video_id], ask.row) for unit in left for ask in unit.asks} == {
        ("cam-1.mp4", 1),
        ("cam-2.mp4", 3),
    }


FILTERS = {
    ("*",): ["cam-1.mp4", "cam-2.mp4", "lecture.mp4", "[odd].mp4"],
    ("cam-*",): ["cam-1.mp4", "cam-2.mp4"],  # the third was not ingested with this model
    ("floor=3",): ["cam-1.mp4"],
    ("cam-*", "floor=4"): ["cam-2.mp4"],
    ("camera=north",): ["cam-1.mp4"],
    ("camera=north*",): ["cam-1.mp4", "cam-2.mp4"],
    ('tags=*"b"*',): ["cam-1.mp4"],
}


@pytest.mark.parametrize("filters", FILTERS)
def test_filters_say_of_which_videos(filters: tuple[str, ...]) -> None:
    plan = plan_of({"question": "a"}, {"question": "b"}, filters=list(filters))
    assert [target.video_name for target in plan.targets] == FILTERS[filters] * 2
    assert [target.source for target in plan.targets] == sorted([0, 1] * len(FILTERS[filters]))


WRONG: dict[str, tuple[dict[str, Any], list[str] | None, str]] = {
    "no question": ({"video": "a", "text": "What?"}, None, "no column 'question'.*video, text"),
    "no video": ({"question": "What?"}, None, "--questions and --videos"),
    "video twice": ({"question": "What?", "video": "a"}, ["*"], "leave one of them out"),
    "no such videos": ({"question": "What?"}, ["cam-*", "floor=9"], "'cam-\\*' and 'floor=9'"),
    "no such key": ({"question": "What?"}, ["storey=3"], "no video of the archive fits"),
    "of another model": ({"question": "What?"}, ["cam-3*"], "1 videos fit, and none was ingested with this model"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_table_that_does_not_fit(case: str) -> None:
    row, filters, message = WRONG[case]
    with pytest.raises(ConfigError, match=message):
        plan_of(row, filters=filters)


SAID: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "empty cells": ({"from": "", "to": None, "select": "", "top_k": "", "max_tokens": None}, {}),
    "texts, as in CSV": (
        {"from": "0:10", "to": "40", "select": "0,4", "top_k": "3", "max_tokens": "5"},
        {"start": "0:10", "end": "40", "select": "0,4", "top_k": 3, "max_tokens": 5},
    ),
    "numbers, as in Parquet": ({"from": 10, "to": 40.5, "top_k": 3.0}, {"start": 10.0, "end": 40.5, "top_k": 3}),
    "a whole number that names a chunk": ({"select": 4}, {"select": "4"}),
    "no chunk in detail": ({"top_k": 0}, {"top_k": 0}),
    "the start of an index's id": ({"index_id": "000"}, {"index": "0" * 32}),
    "the clock": (
        {"from": datetime.datetime(2026, 5, 1, 9, tzinfo=datetime.UTC)},
        {"start": "2026-05-01T09:00:00+00:00"},
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_a_row_says_of_how_to_answer(case: str) -> None:
    row, expected = SAID[case]
    assert only_ask(row) == Ask(0, "What?", **expected)


CANNOT: dict[str, tuple[dict[str, Any], str]] = {
    "no question": ({"question": None}, "the question is empty"),
    "a blank": ({"question": " \n"}, "the question is empty"),
    "a number": ({"question": 7}, "the question is empty"),
    "no time": ({"from": "soon"}, "soon"),
    "half a chunk": ({"top_k": 1.5}, "top_k must be a whole number, got 1.5"),
    "fewer than none": ({"max_tokens": "-1"}, "max_tokens must be a whole number, got '-1'"),
    "no number": ({"top_k": "many"}, "top_k must be a whole number"),
    "no such index": ({"index_id": "ffff"}, "cam-1.mp4 has no index that begins with 'ffff'. There are: 0000"),
    "not a number": ({"top_k": float("nan")}, "top_k must be a whole number"),
}


@pytest.mark.parametrize("case", CANNOT)
def test_a_row_that_cannot_be_asked_is_a_row_with_a_reason(case: str) -> None:
    row, message = CANNOT[case]
    plan = plan_of({"video": "cam-1.mp4", "question": "What?"} | row)
    assert not plan.asks
    assert message in str(plan.failed[0])
    assert plan.targets[0].video_name == "cam-1.mp4"


def test_a_unit_survives_its_way_to_a_worker() -> None:
    unit = Unit("v", (Ask(3, "Was ist „das“?", "0:10", 40.0, "0,4", 2, 5), Ask(4, "?")))
    assert Unit.from_json(unit.to_json()) == unit


def test_bytes_are_estimated_once_a_video_and_by_what_can_be_chosen() -> None:
    settings = BatchSettings(selection=SelectionConfig(top_k=2))
    each = LOW_BYTES // 10
    one = plan_of({"video": "cam-1.mp4", "question": "a"})
    assert one.estimated_bytes(settings) == {"high": HIGH_BYTES, "low": 2 * each}
    own = plan_of({"video": "cam-1.mp4", "question": "a", "top_k": 1}, {"video": "cam-2.mp4", "question": "b"})
    assert own.estimated_bytes(settings) == {"high": 2 * HIGH_BYTES, "low": 3 * each}
    both = plan_of(*({"video": "lecture.mp4", "question": "a", "index_id": f"{n:032x}"} for n in (0, 1, 1)))
    assert both.estimated_bytes(settings) == {"high": 2 * HIGH_BYTES, "low": 6 * each}
    many = plan_of(*({"video": "cam-1.mp4", "question": str(n)} for n in range(99)))
    assert many.estimated_bytes(settings) == {"high": HIGH_BYTES, "low": LOW_BYTES}  # no more than there is


@pytest.mark.parametrize(
    ("select", "chunks"), [("all", 10), ("none", 0), ("0-4,7", 6), ("uniform", 3), ("attention", 3), ("bogus", 0)]
)
@pytest.mark.parametrize("said_by", ["row", "settings"])
def test_estimated_are_the_chunks_that_the_selection_can_have(said_by: str, select: str, chunks: int) -> None:
    row: dict[str, Any] = {"video": "cam-1.mp4", "question": "a"} | ({"select": select} if said_by == "row" else {})
    settings = BatchSettings(selection=SelectionConfig(select if said_by == "settings" else "random", top_k=3))
    assert plan_of(row).estimated_bytes(settings)["low"] == chunks * LOW_BYTES // CHUNKS


def test_the_index_of_this_model_counts() -> None:
    plan = plan_of({"video": "lecture.mp4", "question": "a"}, {"video": "cam-3.mp4", "question": "b"})
    models = {NAMES[video_id]: index.model_fingerprint for (video_id, _), index in plan.indexes.items()}
    assert models == {"lecture.mp4": OURS, "cam-3.mp4": OTHER}  # the latter fails when it is opened, and says why


ROWS = [{"video": "cam-1.mp4", "question": "a"}, {"video": "cam-*.mp4", "question": "b"}]


def key(
    rows: list[dict[str, Any]] = ROWS,
    videos: list[VideoEntry] = VIDEOS,
    settings: BatchSettings | None = None,
    url: str = "/archive",
    model: str = OURS,
) -> str:
    table = pa.Table.from_pylist(rows)
    return digest(table, make_plan(table, videos, model), settings or BatchSettings(), url, model)


def test_what_changes_no_answer_is_the_same_job() -> None:
    table = pa.Table.from_pylist(ROWS)
    parted = pa.concat_tables([table.slice(0, 1), table.slice(1)]).replace_schema_metadata({"pandas": "{}"})
    assert digest(parted, make_plan(parted, VIDEOS, OURS), BatchSettings(), "/archive", OURS) == key()
    assert key(settings=BatchSettings(actors=4, slots=2, part_rows=1, mixed_bytes=0)) == key()
    assert key(videos=[*VIDEOS, video("unasked.mp4")]) == key()


def test_what_changes_answers_is_another_job() -> None:
    again = dataclasses.replace(VIDEOS[0].indexes[0], created="2027-01-01T00:00:00+00:00")
    others = {
        "a question": key(rows=[ROWS[0], {**ROWS[1], "question": "c"}]),
        "their order": key(rows=ROWS[::-1]),
        "a carried column": key(rows=[{**row, "id": 1} for row in ROWS]),
        "one video more": key(videos=[*VIDEOS, video("cam-4.mp4")]),
        "ingested again": key(videos=[VideoEntry(VIDEOS[0].video_id, (again,)), *VIDEOS[1:]]),
        "chunks": key(settings=BatchSettings(selection=SelectionConfig(top_k=3))),
        "the longest answer": key(settings=BatchSettings(generation=GenerationConfig(7))),
        "the archive": key(url="/elsewhere"),
        "the model": key(model=OTHER),
    }
    assert len({key(), *others.values()}) == 1 + len(others), others
