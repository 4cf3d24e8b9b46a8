"""Whole batches on a real cluster: answers are those of ``ask`` alone, and nothing is lost or asked twice."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq
import pytest

from pipelines.batch import BatchSettings, batch
from pipelines.batch.questions import read_table
from tests.archives import random_index
from tests.batch.conftest import NAMES
from videox2l import Archive, GenerationConfig, ResidentVideo, SelectionConfig, TimeRange, ask
from videox2l.config import Budget, CompressionConfig
from videox2l.errors import ConfigError
from videox2l.models import KVCompressibleModel

pytestmark = pytest.mark.usefixtures("ray_cluster")

ROWS: list[dict[str, Any]] = [
    {"id": "a", "video": "lecture.mp4", "question": "What is shown?"},
    {"id": "b", "video": "cam-*.mp4", "question": "Is the gate open?", "top_k": 1},
    {"id": "c", "video": "lecture.mp4", "question": "Who speaks?", "from": "0:10", "to": "40"},
    {"id": "d", "video": "lecture.mp4", "question": "What else?", "select": "0,4", "max_tokens": 3},
    {"id": "e", "video": "lecture.mp4", "question": " "},
    {"id": "f", "video": "nowhere.mp4", "question": "Is anybody there?"},
    {"id": "g", "video": "cam-1.mp4", "question": "And now?", "select": "9"},
    {"id": "h", "video": "cam-1.mp4", "question": "And then?", "from": "1:00:00"},
]
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "video", "question", "from", "to", "select")]
    + [("top_k", pa.int64()), ("max_tokens", pa.int64()), ("answer", pa.string())]
)


def settings(checkpoint: str, **changes: Any) -> BatchSettings:
    return BatchSettings(checkpoint, device="cpu", generation=GenerationConfig(8), **changes)


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{"answer": "known"} | row for row in rows], SCHEMA)


def many(count: int) -> pa.Table:
    """Questions about all videos in turn."""
    return table(
        [{"id": str(number), "video": NAMES[number % 3], "question": f"{number}: what?"} for number in range(count)]
    )


def test_answers_are_those_of_ask(
    tmp_path: Path, archive: Archive, checkpoint: str, random_model: KVCompressibleModel
) -> None:
    out = tmp_path / "answers.parquet"
    chosen = SelectionConfig(top_k=4, policy="coverage:0.8", correct_drift=True, budget=Budget(max_low_chunks=3))
    summary = batch(table(ROWS), out, archive.url, settings(checkpoint, selection=chosen))
    found = pq.read_table(out).to_pylist()
    assert [row["id"] for row in found] == ["a", "b", "b", "c", "d", "e", "f", "g", "h"]
    assert [row["video_name"] for row in found[1:3]] == ["cam-1.mp4", "cam-2.mp4"]
    assert {row["input_answer"] for row in found} == {"known"}
    alone = [
        ("lecture.mp4", "What is shown?", chosen, 8, None),
        ("cam-1.mp4", "Is the gate open?", replace(chosen, top_k=1), 8, None),
        ("cam-2.mp4", "Is the gate open?", replace(chosen, top_k=1), 8, None),
        ("lecture.mp4", "Who speaks?", chosen, 8, TimeRange(10.0, 40.0)),
        ("lecture.mp4", "What else?", replace(chosen, select="0,4"), 3, None),
    ]
    for row, (name, question, selection, tokens, limits) in zip(found, alone, strict=False):
        video = ResidentVideo(random_model, archive.open_index(name))
        expected = ask(random_model, video, question, selection, GenerationConfig(tokens), limits)
        assert (row["answer"], row["finish_reason"]) == (expected.text, expected.finish_reason)
        assert [span["chunk"] for span in row["spans"]] == [span.chunk for span in expected.spans]
        for span, same in zip(row["spans"], expected.spans, strict=True):
            assert span["score"] == (None if same.score is None else pytest.approx(same.score, rel=1e-4))
        assert row["bytes_used"] == expected.receipt.bytes_used
        assert row["answer_tokens"] == expected.receipt.answer_tokens
        assert row["error"] is None
        assert row["milliseconds"] > 0
    assert [row["error_code"] for row in found[5:]] == [
        "QuestionError",
        "VideoNotFoundError",
        "ConfigError",
        "TimeRangeError",
    ]
    assert "nowhere.mp4" in found[6]["error"]
    assert all(row["answer"] is None for row in found[5:])
    assert (summary.questions, sum(summary.failed.values()), summary.videos, summary.ok) == (9, 4, 3, False)
    assert not (tmp_path / "answers.parquet.parts").exists()


def test_one_of_several_indexes(tmp_path: Path, checkpoint: str, random_model: KVCompressibleModel) -> None:
    archive = Archive.open(tmp_path / "archive", create=True)
    ratios = [CompressionConfig(low_ratio=2, high_ratio=high, frames_per_chunk=10) for high in (8, 16)]
    readers = [random_index(archive, random_model, chunks=3, compression=each) for each in ratios]
    ids = [reader.manifest.index_fp for reader in readers]
    named = [{"video": "random.mp4", "question": "What?", "index_id": each} for each in (ids[0], ids[1][:9], "")]
    batch(pa.Table.from_pylist(named), tmp_path / "answers.jsonl", archive.url, settings(checkpoint))
    found = pa.json.read_json(tmp_path / "answers.jsonl").to_pylist()
    for row, reader in zip(found, readers, strict=False):
        expected = ask(random_model, ResidentVideo(random_model, reader), "What?", None, GenerationConfig(8))
        assert (row["answer"], row["bytes_used"]) == (expected.text, dict(expected.receipt.bytes_used))
    assert found[2]["error_code"] == "FingerprintMismatchError"
    assert all(each in found[2]["error"] for each in ids)


def test_high_kvs_are_read_once_and_low_ones_shared(tmp_path: Path, archive: Archive, checkpoint: str) -> None:
    rows = [{"id": str(n), "video": "lecture.mp4", "question": f"{n}: what?", "select": "1,2"} for n in range(12)]
    batch(table(rows), tmp_path / "answers.parquet", archive.url, settings(checkpoint))
    found = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    for level in ("high", "low", "prompt"):
        assert sum(row["bytes_read"][level] for row in found) == found[0]["bytes_used"][level]


def test_every_question_of_every_video_that_fits(tmp_path: Path, archive: Archive, checkpoint: str) -> None:
    questions = pa.table({"question": ["Is it open?", "Is it shut?"]})
    batch(questions, tmp_path / "answers.jsonl", archive.url, settings(checkpoint), videos=["cam-*"])
    found = pa.json.read_json(tmp_path / "answers.jsonl").to_pylist()
    assert [(row["question"], row["video_name"]) for row in found] == [
        (question, name) for question in ("Is it open?", "Is it shut?") for name in ("cam-1.mp4", "cam-2.mp4")
    ]
    with pytest.raises(ConfigError, match="no video"):
        batch(questions, tmp_path / "none.jsonl", archive.url, settings(checkpoint), videos=["dog-*"])


def test_a_stopped_job_goes_on(tmp_path: Path, archive: Archive, checkpoint: str) -> None:
    stop, out, seen = threading.Event(), tmp_path / "answers.parquet", []

    def watch(total: int, earlier: int, done: int, failed: int) -> None:
        seen.append(done)
        if done:
            stop.set()

    few = settings(checkpoint, slots=1, part_rows=5)
    with pytest.raises(KeyboardInterrupt):
        batch(many(150), out, archive.url, few, on_progress=watch, stop=stop)
    assert not out.exists()
    stored = sum(pq.read_table(part).num_rows for part in (tmp_path / "answers.parquet.parts").rglob("*.parquet"))
    assert 0 < stored < 150
    summary = batch(many(150), out, archive.url, settings(checkpoint))
    found = pq.read_table(out).to_pylist()
    assert summary.earlier == stored
    assert [row["id"] for row in found] == [str(number) for number in range(150)]
    assert all(row["error"] is None for row in found)
    # A whole output: nothing is asked again, and nothing else is written over it.
    assert batch(many(150), out, archive.url, settings(checkpoint)).earlier == 150
    with pytest.raises(ConfigError, match="not of this job"):
        batch(many(3), out, archive.url, settings(checkpoint))


def test_a_killed_actor_is_replaced(tmp_path: Path, archive: Archive, checkpoint: str) -> None:
    out, killed = tmp_path / "answers.parquet", []

    def kill(total: int, earlier: int, done: int, failed: int) -> None:
        if done and not killed:
            listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
            ours = {row.split(maxsplit=1)[0] for row in listed.splitlines() if "AnswerStage" in row}
            for pid in ours & _descendants(os.getpid()):
                os.kill(int(pid), signal.SIGKILL)
                killed.append(pid)

    batch(many(150), out, archive.url, settings(checkpoint, slots=1, part_rows=5), on_progress=kill)
    assert killed
    found = pq.read_table(out).to_pylist()
    assert [row["id"] for row in found] == [str(number) for number in range(150)]
    assert all(row["error"] is None for row in found)


def test_what_failed_is_asked_again(tmp_path: Path, checkpoint: str, archive: Archive) -> None:
    out = tmp_path / "answers.parquet"
    rows = ROWS[:1] + ROWS[5:6]
    assert not batch(table(rows), out, archive.url, settings(checkpoint)).ok
    again = batch(table(rows), out, archive.url, settings(checkpoint))
    assert (again.earlier, again.questions, sum(again.failed.values())) == (1, 2, 1)


def test_a_dry_run_writes_nothing(tmp_path: Path, archive: Archive, checkpoint: str) -> None:
    summary = batch(many(9), tmp_path / "answers.csv", archive.url, settings(checkpoint), dry_run=True)
    assert (summary.planned, summary.questions, summary.videos) == (True, 9, 3)
    assert summary.read["high"] > 0
    assert list(tmp_path.iterdir()) == []


def test_tables_and_archive_in_object_storage(
    s3_server: str, s3_bucket: str, checkpoint: str, random_model: KVCompressibleModel
) -> None:
    access = {"endpoint_url": s3_server, "key": "test", "secret": "test"}
    archive = Archive.open(f"{s3_bucket}/archive", create=True, storage_options=access)
    random_index(archive, random_model, "lecture.mp4")
    out, rows = f"{s3_bucket}/answers.parquet", table(ROWS[:1])
    assert batch(rows, out, archive.url, settings(checkpoint), storage_options=access).ok
    assert read_table(out, access)["answer"].null_count == 0
    assert batch(rows, out, archive.url, settings(checkpoint), storage_options=access).earlier == 1


def _descendants(pid: int) -> set[str]:
    listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    children: dict[str, list[str]] = {}
    for child, parent in (row.split() for row in listed.splitlines()[1:]):
        children.setdefault(parent, []).append(child)
    found, left = set(), [str(pid)]
    while left:
        new = children.get(left.pop(), [])
        found.update(new)
        left.extend(new)
    return found
