"""Annotations and folders as the benchmarks are distributed, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.benchmark_data import (
    mlvu_row,
    place,
    videomme_row,
    write_json,
    write_longvideobench,
    write_mlvu,
    write_mlvu_test,
    write_videomme,
    write_vnbench,
)
from videox2l.errors import ConfigError
from videox2l.evaluation.benchmarks import BENCHMARKS, Loaded, benchmark


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    """Only looked for, never decoded here."""
    paths = [tmp_path / f"{n}.mp4" for n in range(4)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def kinds(loaded: Loaded) -> dict[str, int]:
    counts: dict[str, int] = {}
    for problem in loaded.problems:
        counts[problem.kind] = counts.get(problem.kind, 0) + problem.questions
    return counts


def test_videomme_parquet(tmp_path: Path, clips: list[Path]):
    loaded = benchmark("videomme").read(write_videomme(tmp_path / "d", clips[:2]))
    assert [item.id for item in loaded.items] == ["001-1", "001-2", "001-3", "002-1", "002-2", "002-3"]
    assert kinds(loaded) == {"missing_video": 3}
    assert loaded.problems[0].where == "900-1"
    item = loaded.items[1]
    assert item.prompt == (
        "Select the best answer to the following multiple-choice question based on the video. Respond with only the "
        "letter (A, B, C, or D) of the correct option.\nWhat is shown in part 2?\nA. Red.\nB. Blue.\nC. Green.\n"
        "D. Grey.\nThe best answer is:"
    )
    assert (item.answer, item.letters, item.video.name, item.cluster) == ("B", "ABCD", "yt-_1.mp4", "yt-_1")
    assert item.groups == {
        "duration": "short",
        "domain": "Knowledge",
        "sub-category": "Humanity & History",
        "task": "Object Recognition",
    }


def test_videomme_subtitles(tmp_path: Path, clips: list[Path]):
    first, *_, last = benchmark("videomme").read(write_videomme(tmp_path / "d", clips[:2]), subtitles=True).items
    begin = "This video's subtitles are listed below:\nHello there.\nA red circle\nappears.\nSelect the best answer"
    assert first.prompt.startswith(begin)
    assert "based on the video and the subtitles." in first.prompt
    assert last.prompt.startswith("This video's subtitles are listed below:\nNo subtitles available\n")


def test_videomme_script_json(tmp_path: Path, clips: list[Path]):
    question = {"question_id": "001-1", "task_type": "OCR Problems", "question": "What?", "answer": "D"}
    video = {
        "video_id": "001",
        "duration_category": "medium",
        "video_category": "Knowledge",
        "video_subcategory": "Law",
        "url": "https://www.youtube.com/watch?v=a-b_c",
        "questions": [question | {"choices": ["A. 1.", "B. 2.", "C. 3.", "D. 4."]}],
    }
    write_json(tmp_path / "d" / "videomme.json", [video])
    place(clips[0], tmp_path / "d" / "data" / "a-b_c.mkv")
    (item,) = benchmark("videomme").read(tmp_path / "d").items
    assert (item.id, item.groups["duration"], item.groups["sub-category"]) == ("001-1", "medium", "Law")


@pytest.mark.parametrize(
    ("change", "why"),
    [({"answer": "E"}, "no letter"), ({"options": ["A. Red."]}, "no list of 2"), ({"task_type": None}, "no task_type")],
)
def test_broken_questions_are_named(tmp_path: Path, clips: list[Path], change: dict[str, object], why: str):
    rows = [videomme_row(1, 1, "yt"), videomme_row(1, 2, "yt", **change)]
    (tmp_path / "d").mkdir()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "d" / "test-00000-of-00001.parquet")
    place(clips[0], tmp_path / "d" / "data" / "yt.mp4")
    loaded = benchmark("videomme").read(tmp_path / "d")
    assert [item.id for item in loaded.items] == ["001-1"]
    assert [(problem.kind, problem.where) for problem in loaded.problems] == [("broken", "001-2")]
    assert why in loaded.problems[0].why


def test_mlvu_keeps_videos_of_equal_names_apart(tmp_path: Path, clips: list[Path]):
    loaded = benchmark("mlvu").read(write_mlvu(tmp_path / "d", clips))
    assert [item.id for item in loaded.items] == ["1_plotQA:0", "1_plotQA:1", "2_needle:0", "2_needle:1"]
    assert [item.answer for item in loaded.items] == ["B", "C", "B", "C"]
    assert [item.video.read_bytes() for item in loaded.items[1:3]] == [b"0.mp4", b"1.mp4"]
    assert loaded.items[1].cluster != loaded.items[2].cluster
    assert kinds(loaded) == {"missing_video": 1, "not_multiple_choice": 2}
    assert loaded.items[0].prompt == (
        "Question: Which colour has the hat?\nOptions:\n(A) Red\n(B) Blue\n(C) Green\n(D) Grey\n"
        "Only give the best option.\nBest option: ("
    )


def test_mlvu_test_set_has_six_options(tmp_path: Path, clips: list[Path]):
    (item,) = benchmark("mlvu").read(write_mlvu_test(tmp_path / "d", clips[0]), "test").items
    assert (item.id, item.answer, item.letters, item.groups) == ("SQA_0", "F", "ABCDEF", {"task": "sportsQA"})


def test_mlvu_answers_must_be_one_of_the_candidates(tmp_path: Path, clips: list[Path]):
    place(clips[0], tmp_path / "d" / "video" / "4_count" / "a.mp4")
    rows = [mlvu_row("a.mp4", "count", "7"), mlvu_row("a.mp4", "count", 3, candidates=[1, 2, 3, 4])]
    write_json(tmp_path / "d" / "json" / "4_count.json", rows)
    loaded = benchmark("mlvu").read(tmp_path / "d")
    assert [item.answer for item in loaded.items] == ["C"]
    assert "'7' is none of its options" in loaded.problems[0].why


def test_longvideobench(tmp_path: Path, clips: list[Path]):
    folder = write_longvideobench(tmp_path / "d", clips[:2])
    loaded = benchmark("longvideobench").read(folder)
    assert [item.options for item in loaded.items] == [5, 4, 5, 4]
    assert loaded.items[0].prompt == (
        "Question: When the man in the red hat waves, what is behind him?\nA. a dog\nB. a bus\nC. a tree\nD. a wall\n"
        "E. a boat\nAnswer with the option's letter from the given choices directly."
    )
    assert loaded.items[0].groups["duration (s)"] == "15"
    assert kinds(loaded) == {"missing_video": 1}
    hidden = benchmark("longvideobench").read(folder, "test")
    assert [item.answer for item in hidden.items] == [""] * 4


def test_vnbench_tries(tmp_path: Path, clips: list[Path]):
    folder = write_vnbench(tmp_path / "d", clips)
    loaded = benchmark("vnbench").read(folder)
    assert len(loaded.items) == 16
    assert [item.answer for item in loaded.items[:4]] == ["C", "B", "A", "D"]
    assert len({item.unit for item in loaded.items}) == 4
    # Two pairs of videos are the same one with other needles.
    assert {item.cluster for item in loaded.items} == {"3261112320", "3261112321"}
    assert loaded.items[0].groups == {"task": "ret_insert1", "ability": "retrieval"}
    assert loaded.items[0].prompt.endswith("A. cat\nB. dog\nC. fox\nD. owl\n" + loaded.items[0].prompt.split("\n")[-1])

    rows = json.loads((folder / "VNBench-main-4try.json").read_text())
    rows[4]["gt_option"] = "A" if rows[4]["gt_option"] != "A" else "B"
    write_json(folder / "VNBench-main-4try.json", rows[1:])
    loaded = benchmark("vnbench").read(folder)
    assert len(loaded.items) == 8
    assert kinds(loaded) == {"broken": 1, "incomplete": 6}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_folders_of_another_layout(tmp_path: Path, name: str):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ConfigError, match="is not laid out as"):
        benchmark(name).read(tmp_path)
    with pytest.raises(ConfigError, match="no folder"):
        benchmark(name).read(tmp_path / "nowhere")


def test_what_a_benchmark_does_not_have(tmp_path: Path):
    with pytest.raises(ConfigError, match="no split 'dev'"):
        benchmark("vnbench").read(tmp_path, "dev")
    with pytest.raises(ConfigError, match="without subtitles"):
        benchmark("mlvu").read(tmp_path, subtitles=True)
    with pytest.raises(ConfigError, match="no benchmark 'mme'"):
        benchmark("mme")
    (tmp_path / "VNBench-main-4try.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        benchmark("vnbench").read(tmp_path)
