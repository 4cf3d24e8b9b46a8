"""The finished table in every format: whole or not at all, in the order of the questions, and of one job."""

from __future__ import annotations

import datetime
import json
import math
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from pipelines.batch.answers import ANSWER_SCHEMA, ROW, failed, to_table
from pipelines.batch.output import Output, finished
from pipelines.batch.plan import Plan, Target
from pipelines.batch.questions import read_table
from videox2l.errors import ArchiveNotWritableError, ConfigError, QuestionError

SPAN = {"chunk": 1, "start_s": 8.0, "end_s": 16.0, "score": None}
ANSWER = {ROW: 0, "answer": 'Äh, "ja"\n', "spans": [SPAN], "degraded": [], "bytes_read": {"low": 7}, "answer_tokens": 3}
QUESTIONS = pa.table(
    {
        "question": ["a", "b"],
        "answer": ["known", None],
        "day": [datetime.date(2026, 5, 1), None],
        "raw": [b"\x00\xff", None],
    }
)
PLAN = Plan([Target(0, "v1", "one.mp4"), Target(0, "v2", "two.mp4"), Target(1, None, None)])


def table() -> pa.Table:
    rows: list[dict[str, Any]] = [ANSWER, {**ANSWER, ROW: 1, "answer": ""}, failed(2, QuestionError("no"))]
    return finished(QUESTIONS, PLAN, to_table(rows))


def test_a_line_a_target_with_the_questions_own_columns() -> None:
    found = table()
    assert found.column_names == [
        *("question", "input_answer", "day", "raw", "video_id", "video_name"),
        *ANSWER_SCHEMA.names,
    ]
    rows = found.to_pylist()
    assert [row["question"] for row in rows] == ["a", "a", "b"]
    assert [row["video_name"] for row in rows] == ["one.mp4", "two.mp4", None]
    assert [row["input_answer"] for row in rows] == ["known", "known", None]
    assert (rows[0]["spans"], rows[0]["degraded"], rows[2]["spans"]) == ([SPAN], [], None)
    assert (rows[2]["error"], rows[2]["error_code"]) == ("no", "QuestionError")


def test_a_name_that_is_taken_twice() -> None:
    questions = pa.table({"error": ["a"], "input_error": ["b"], "video_id": ["c"]})
    found = finished(questions, Plan([Target(0, "v", "v.mp4")]), to_table([{**ANSWER}]))
    assert found.column_names[:3] == ["input_input_error", "input_error", "input_video_id"]
    assert found.select([0, 1, 2]).to_pylist() == [
        {"input_input_error": "a", "input_error": "b", "input_video_id": "c"}
    ]


def test_parquet_knows_its_job(tmp_path: Path) -> None:
    output = Output(str(tmp_path / "a.parquet"))
    assert output.earlier("job") is None
    output.write(table(), "job")
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == table().to_pylist()
    assert output.earlier("other") is None
    earlier = output.earlier("job")
    assert earlier is not None
    assert earlier[ROW].to_pylist() == [0, 1, 2]
    assert earlier.select(ANSWER_SCHEMA.names) == table().select(ANSWER_SCHEMA.names)


def test_csv_holds_lists_as_json(tmp_path: Path) -> None:
    Output(str(tmp_path / "a.csv")).write(table(), "job")
    rows = read_table(str(tmp_path / "a.csv")).to_pylist()
    assert [row["answer"] for row in rows] == ['Äh, "ja"\n', "", ""]
    assert json.loads(rows[0]["spans"]) == [SPAN]
    assert json.loads(rows[0]["bytes_read"])["low"] == 7
    assert (rows[2]["spans"], rows[2]["error"]) == ("", "no")
    assert Output(str(tmp_path / "a.csv")).earlier("job") is None  # it does not say of which job it is


def test_json_lines_hold_what_json_has_no_type_for(tmp_path: Path) -> None:
    Output(str(tmp_path / "a.jsonl")).write(table(), "job")
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["day"], row["raw"]) for row in rows] == [("2026-05-01", "00ff")] * 2 + [(None, None)]
    assert "Äh" in lines[0]
    assert rows[0]["spans"] == [SPAN]


def test_numbers_that_json_does_not_have_are_null(tmp_path: Path) -> None:
    odd = pa.table({"score": [math.nan, math.inf, 0.5], "list": [[math.nan], None, [1.0]]})
    Output(str(tmp_path / "a.jsonl")).write(odd, "job")
    assert (tmp_path / "a.jsonl").read_text().splitlines() == [
        '{"score": null, "list": [null]}',
        '{"score": null, "list": null}',
        '{"score": 0.5, "list": [1.0]}',
    ]


def test_csv_holds_what_it_has_no_type_for(tmp_path: Path) -> None:
    """All answers are there by then: a column that the questions have brought along must not be what loses them."""
    number = uuid.UUID(int=7)
    columns = {
        "id": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([number.bytes], pa.binary(16))),
        "text": pa.array(["ä"], pa.string_view()),
        "raw": pa.array([b"\x00\xff"], pa.binary_view()),
    }
    Output(str(tmp_path / "a.csv")).write(pa.table(columns), "job")
    assert read_table(str(tmp_path / "a.csv")).to_pylist() == [{"id": str(number), "text": "ä", "raw": "00ff"}]


def test_what_else_is_there_is_not_taken_for_an_output(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("something else")
    output = Output(str(tmp_path / "a.parquet"))
    assert output.exists()
    assert output.earlier("job") is None
    pq.write_table(pa.table({"answer": ["of somebody else"]}), tmp_path / "a.parquet")
    assert output.earlier("job") is None


def test_a_check_leaves_nothing_and_says_what_is_wrong(tmp_path: Path) -> None:
    Output(str(tmp_path / "new" / "a.parquet")).check()
    assert list(tmp_path.rglob("*.*")) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveNotWritableError, match="may write there"):
        Output(str(tmp_path / "file" / "a.parquet")).check()
    with pytest.raises(ConfigError, match="must end in"):
        Output(str(tmp_path / "a.xlsx"))
