"""Video-MME (arXiv 2405.21075): 900 videos of three lengths, three questions of four options each.

Read are the Parquet file of the ``Video-MME`` data set (one row a question) and the JSON of its evaluation script
(one object a video).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from videox2l.evaluation.benchmarks.benchmark import Benchmark, Choice, Item, Loaded, Problem
from videox2l.evaluation.benchmarks.files import (
    BrokenRowError,
    Row,
    field,
    find,
    first_file,
    noting,
    options_of,
    read_rows,
)
from videox2l.evaluation.benchmarks.parsing import first_capital

_ANNOTATIONS = ("videomme/test-*.parquet", "test-*.parquet", "videomme*.json", "Video-MME*.json", "*.json")
_FOLDERS = ("data", "videos", "video", "")
_SUFFIXES = (".mp4", ".MP4", ".mkv")

# As the benchmark's README gives them.
_INSTRUCTION = (
    "Select the best answer to the following multiple-choice question based on the video{subtitles}. Respond with only "
    "the letter (A, B, C, or D) of the correct option."
)
_SUBTITLES = "This video's subtitles are listed below:\n{subtitles}\n"
_END = "The best answer is:"

_TAG = re.compile(r"<[^>]*>")


def load(folder: Path, split: str, subtitles: bool) -> Loaded:  # noqa: ARG001 -- there is one split
    """All questions whose video is there."""
    items: list[Item] = []
    problems: list[Problem] = []
    for row in _questions(read_rows(find(folder, _ANNOTATIONS, "Video-MME"))):
        where = str(row.get("question_id", "a question without question_id"))
        with noting(problems, where):
            video_id = _youtube_id(row)
            video = first_file(*(folder / part / f"{video_id}{suffix}" for part in _FOLDERS for suffix in _SUFFIXES))
            if video is None:
                problems.append(Problem("missing_video", where, f"no {folder / 'data' / video_id}.mp4"))
                continue
            items.append(_item(row, video, _subtitles(folder, video_id) if subtitles else ""))
    return Loaded(items, problems)


def _questions(rows: list[Row]) -> Iterator[Row]:
    """One row a question; in the script's JSON the questions of a video stand inside it."""
    for row in rows:
        questions: Any = row.get("questions")
        if isinstance(questions, list):
            yield from ({**row, **question} for question in questions)
        else:
            yield row


def _youtube_id(row: Row) -> str:
    if row.get("videoID"):
        return str(row["videoID"])
    return parse_qs(urlsplit(field(row, "url")).query).get("v", [""])[0] or field(row, "video_id")


def _item(row: Row, video: Path, subtitles: str) -> Item:
    options = options_of(row, "options", "choices")
    answer = field(row, "answer")
    if answer not in "ABCD"[: len(options)] or len(answer) != 1:
        raise BrokenRowError(f"its answer {answer!r} is no letter of an option")
    instruction = _INSTRUCTION.format(subtitles=" and the subtitles" if subtitles else "")
    asked = "\n".join([instruction, field(row, "question"), *options, _END])
    identity = field(row, "question_id")
    groups = {
        "duration": field(row, "duration", "duration_category"),
        "domain": field(row, "domain", "video_category"),
        "sub-category": field(row, "sub_category", "video_sub_category", "video_subcategory"),
        "task": field(row, "task_type"),
    }
    prompt = (_SUBTITLES.format(subtitles=subtitles) if subtitles else "") + asked
    return Item(identity, video, prompt, len(options), answer, groups, identity, video.stem)


def _subtitles(folder: Path, video_id: str) -> str:
    """Lines of ``subtitle/<id>.srt`` without numbers, times and markup; videos without speech have no file."""
    path = folder / "subtitle" / f"{video_id}.srt"
    if not path.is_file():
        return "No subtitles available"
    blocks = re.split(r"\n\s*\n", path.read_text(encoding="utf-8-sig").replace("\r\n", "\n"))
    lines = [line for block in blocks for line in block.strip().split("\n")[2:]]
    return "\n".join(text for line in lines if (text := _TAG.sub("", line).strip()))


def parse(text: str, item: Item) -> Choice:
    """The first capital letter of an option, as the benchmark's script takes it."""
    return Choice(first_capital(text, item.letters))


VIDEOMME = Benchmark(
    "videomme",
    "Video-MME",
    load,
    parse,
    subtitles=True,
    source="prompt and parsing: the README and evaluation script of BradyFU/Video-MME",
)
