"""Answers while a job runs: nothing is lost, nothing is seen twice, and another job's are never mixed in."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from pipelines.batch.answers import ROW, failed, to_table
from pipelines.batch.parts import Parts, newest, parts_folder, succeeded
from videox2l.errors import ArchiveError, ArchiveNotWritableError, QuestionError
from videox2l.store.storage import Storage


def good(row: int, text: str = "yes") -> dict[str, Any]:
    return {ROW: row, "answer": text, "finish_reason": "stop"}


def bad(row: int) -> dict[str, Any]:
    return failed(row, QuestionError("why not"))


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path)


@pytest.fixture
def parts(storage: Storage) -> Parts:
    return Parts(storage, parts_folder("answers.parquet"), "job")


def test_what_is_written_is_read_in_the_order_of_rows(parts: Parts) -> None:
    assert parts.read().num_rows == 0
    parts.write("video-b", [good(3), bad(1)])
    parts.write("video-a", [good(2)])
    parts.write("video-b", [good(0)])
    found = pickle.loads(pickle.dumps(parts)).read().to_pylist()  # as it is in a worker
    assert [row[ROW] for row in found] == [0, 1, 2, 3]
    assert (found[1]["error"], found[1]["error_code"], found[1]["answer"]) == ("why not", "QuestionError", None)
    assert parts.answered("video-b") == {0, 3}
    assert parts.answered("video-a") == {2}
    assert parts.answered("video-c") == set()


def test_of_several_tries_the_one_that_did_not_fail(parts: Parts) -> None:
    for rows in ([bad(0), good(1, "first")], [good(0), good(1, "second")], [bad(0), bad(2)]):
        parts.write("video", rows)
    found = parts.read().to_pylist()
    assert [(row[ROW], row["error"] is None) for row in found] == [(0, True), (1, True), (2, False)]
    assert found[1]["answer"] in ("first", "second")
    assert parts.answered("video") == {0, 1}


def test_an_answer_comes_before_an_error_wherever_it_stands() -> None:
    for rows in ([bad(0), good(0)], [good(0), bad(0)], [bad(0), bad(0), good(0)]):
        table = newest(to_table(rows))
        assert (table.num_rows, succeeded(table)) == (1, {0})


def test_another_job_sees_none_of_them(storage: Storage, parts: Parts) -> None:
    other = Parts(storage, parts_folder("answers.parquet"), "other")
    parts.write("video", [good(0)])
    assert (other.read().num_rows, other.answered("video"), other.others()) == (0, set(), ["job"])
    other.write("video", [good(0)])
    parts.delete()
    assert (parts.read().num_rows, other.read().num_rows) == (0, 1)
    other.delete()
    assert storage.names("") == []


def test_leftovers_of_a_killed_writer_are_not_read(tmp_path: Path, parts: Parts) -> None:
    parts.write("video", [good(0)])
    (part,) = tmp_path.rglob("*.parquet")
    part.with_name(f".{part.name}.123.tmp").write_bytes(part.read_bytes()[:10])
    part.with_name(f".{part.name}").write_bytes(b"PAR1")
    assert parts.read().num_rows == 1
    assert parts.answered("video") == {0}


def test_a_storage_that_refuses_is_said(tmp_path: Path, parts: Parts) -> None:
    (tmp_path / "answers.parquet.parts").write_text("in the way")
    with pytest.raises(ArchiveNotWritableError, match=r"cannot write answers\.parquet\.parts/job/video/"):
        parts.write("video", [good(0)])
    assert parts.answered("video") == set()


def test_a_part_that_is_none_is_an_error_of_the_storage(tmp_path: Path, parts: Parts) -> None:
    parts.write("video", [good(0)])
    (part,) = tmp_path.rglob("*.parquet")
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(ArchiveError, match=part.name):
        parts.read()
