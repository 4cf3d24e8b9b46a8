"""Miniature benchmarks in exactly the file formats and folders in which the public ones are distributed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

VIDEOMME_COLUMNS = (
    "video_id duration domain sub_category url videoID question_id task_type question options answer".split()
)

SRT = (
    '1\n00:00:00,000 --> 00:00:02,500\n<font color="white" size=".72c">Hello there.</font>\n\n'
    '2\n00:00:02,500 --> 00:00:05,000\n<font color="white" size=".72c">A red circle</font>\n'
    '<font color="white" size=".72c">appears.</font>\n'
)


def write_json(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1))


def place(clip: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(clip, path)


def videomme_row(number: int, question: int, youtube: str, duration: str = "short", **changed: Any) -> dict[str, Any]:
    row = {
        "video_id": f"{number:03}",
        "duration": duration,
        "domain": "Knowledge",
        "sub_category": "Humanity & History",
        "url": f"https://www.youtube.com/watch?v={youtube}",
        "videoID": youtube,
        "question_id": f"{number:03}-{question}",
        "task_type": ("Counting Problem", "Object Recognition", "OCR Problems")[question - 1],
        "question": f"What is shown in part {question}?",
        "options": ["A. Red.", "B. Blue.", "C. Green.", "D. Grey."],
        "answer": "ABC"[question - 1],
    }
    return row | changed


def write_videomme(folder: Path, clips: Sequence[Path]) -> Path:
    """As lmms-lab/Video-MME: Parquet, ``data/`` and ``subtitle/``; three questions each, of the last no video."""
    rows = []
    for number, clip in enumerate(clips, 1):
        youtube = f"yt-_{number}"
        place(clip, folder / "data" / f"{youtube}.mp4")
        rows += [videomme_row(number, q, youtube, "short" if number % 2 else "long") for q in (1, 2, 3)]
    rows += [videomme_row(900, q, "withdrawn") for q in (1, 2, 3)]
    (folder / "videomme").mkdir(parents=True, exist_ok=True)
    table = pa.table({name: [row[name] for row in rows] for name in VIDEOMME_COLUMNS})
    pyarrow.parquet.write_table(table, folder / "videomme" / "test-00000-of-00001.parquet")
    (folder / "subtitle").mkdir(exist_ok=True)
    (folder / "subtitle" / "yt-_1.srt").write_text(SRT)
    return folder


def mlvu_row(video: str, task: str, answer: str = "Blue", **changed: Any) -> dict[str, Any]:
    row = {
        "video": video,
        "duration": 480.0,
        "question": "Which colour has the hat?",
        "candidates": ["Red", "Blue", "Green", "Grey"],
        "answer": answer,
        "question_type": task,
    }
    return row | changed


def write_mlvu(folder: Path, clips: Sequence[Path]) -> Path:
    """As MLVU/MVLU: ``json/N_task.json`` and ``video/N_task/``; two tasks share a file name for different videos."""
    root = folder / "MLVU"
    for name, task, clip in (("1_plotQA", "plotQA", clips[0]), ("2_needle", "findNeedle", clips[1])):
        place(clip, root / "video" / name / "movie101_1.mp4")
        rows = [mlvu_row("movie101_1.mp4", task), mlvu_row("movie101_1.mp4", task, "Green")]
        write_json(root / "json" / f"{name}.json", rows)
    write_json(root / "json" / "4_count.json", [mlvu_row("gone.mp4", "count")])
    free = {"video": "a.mp4", "duration": 9.5, "question": "Summarise.", "answer": "…", "question_type": "summary"}
    write_json(root / "json" / "9_summary.json", [free, free])
    return folder


def write_mlvu_test(folder: Path, clip: Path) -> Path:
    """As MLVU/MLVU_Test: six candidates, ground truth in a folder of its own."""
    place(clip, folder / "MLVU_Test" / "video" / "test_tv_1.mp4")
    six = ["Red", "Blue", "Green", "Grey", "Pink", "Gold"]
    rows = [mlvu_row("test_tv_1.mp4", "sportsQA", "Gold", candidates=six, question_id="SQA_0")]
    write_json(folder / "test-ground-truth" / "test_mcq_gt.json", rows)
    return folder


def longvideobench_row(video: str, number: int, **changed: Any) -> dict[str, Any]:
    row = {
        "video_id": video,
        "question": "When the man in the red hat waves, what is behind him?",
        "question_wo_referring_query": "What is behind him?",
        "candidates": ["a dog", "a bus", "a tree", "a wall", "a boat"][: 5 - number % 2],
        "correct_choice": 1,
        "position": [0, 100],
        "topic_category": "NP-News-Programs",
        "question_category": ("S2E", "TOS")[number % 2],
        "level": "L1-Perception",
        "id": f"{video}_{number}",
        "video_path": f"{video}.mp4",
        "subtitle_path": f"{video}_en.json",
        "duration_group": 15,
        "starting_timestamp_for_subtitles": 0,
        "duration": 12.5,
        "view_count": 10,
    }
    return row | changed


def write_longvideobench(folder: Path, clips: Sequence[Path]) -> Path:
    """As longvideobench/LongVideoBench, unpacked: both annotation files, ``videos/`` and ``subtitles/``."""
    rows = []
    for number, clip in enumerate(clips):
        video = f"86CxyhFV9M{number}"
        place(clip, folder / "videos" / f"{video}.mp4")
        subtitles = [{"start": "00:00:00.000", "end": "00:00:02.000", "line": "Hello."}]
        write_json(folder / "subtitles" / f"{video}_en.json", subtitles)
        rows += [longvideobench_row(video, q, duration_group=(15, 3600)[number % 2]) for q in (0, 1)]
    write_json(folder / "lvb_val.json", [*rows, longvideobench_row("missing", 0)])
    hidden = [{name: value for name, value in row.items() if name != "correct_choice"} for row in rows]
    write_json(folder / "lvb_test_wo_gt.json", hidden)
    return folder


def write_vnbench(folder: Path, clips: Sequence[Path], tasks: Sequence[str] = ("ret_insert1", "cnt_edit2")) -> Path:
    """As VNBench: every question four times with its options turned round, one group of which is cut short."""
    rows = []
    for number, clip in enumerate(clips):
        task = tasks[number % len(tasks)]
        name = f"326111232{number // len(tasks)}_{task}.mp4"
        place(clip, folder / "VNBench_new" / name)
        for attempt in range(4):
            options = ["cat", "dog", "fox", "owl"]
            options = options[attempt:] + options[:attempt]
            rows.append(
                {
                    "video": f"/VNBench_new/{name}",
                    "question": "Which animal appears?",
                    "options": options,
                    "gt": "fox",
                    "gt_option": "ABCD"[options.index("fox")],
                    "needle_time": [1.0],
                    "length": 12,
                    "type": task,
                    "try": attempt,
                }
            )
    write_json(folder / "VNBench-main-4try.json", rows)
    return folder
