"""MLVU (arXiv 2406.04264): long videos of many kinds, seven multiple-choice tasks and two of free text.

``dev`` are the nine files ``json/1_plotQA.json`` … with videos in folders of the same names (videos of different tasks
share file names); ``test`` is ``test-ground-truth/test_mcq_gt.json`` with all videos in one folder.
"""

from __future__ import annotations

import re
from pathlib import Path

from videox2l.errors import ConfigError
from videox2l.evaluation.benchmarks.benchmark import LETTERS, Benchmark, Choice, Item, Loaded, Problem
from videox2l.evaluation.benchmarks.files import Row, field, find, first_file, letter_of, noting, options_of, read_rows
from videox2l.evaluation.benchmarks.parsing import first_capital

# Their answers are texts that a large language model grades.
_FREE_TEXT = ("sub_scene", "summary")

_FOLDERS = ("", "MLVU", "MLVU_Test")
_TEST = ("test-ground-truth/test_mcq_gt.json", "test_mcq_gt.json", "*/test-ground-truth/test_mcq_gt.json")


def load(folder: Path, split: str, subtitles: bool) -> Loaded:  # noqa: ARG001 -- there are none
    """All multiple-choice questions whose video is there."""
    return _load_test(folder) if split == "test" else _load_dev(folder)


def _load_dev(folder: Path) -> Loaded:
    root = next((folder / part for part in _FOLDERS if (folder / part / "json").is_dir()), None)
    files = [] if root is None else sorted((root / "json").glob("[0-9]_*.json"))
    if root is None or not files:
        raise ConfigError(
            f"{folder} is not laid out as MLVU is distributed: it has no json/1_plotQA.json … and no MLVU/json. Give "
            "the folder that the data set was downloaded into."
        )
    items: list[Item] = []
    problems: list[Problem] = []
    for path in files:
        task = path.stem.partition("_")[2]
        rows = read_rows(path)
        if task in _FREE_TEXT:
            why = "its answers are free text, which takes a language model to grade"
            problems.append(Problem("not_multiple_choice", path.name, why, len(rows)))
            continue
        for number, row in enumerate(rows):
            videos = (root / "video" / path.stem, root / "video" / task)
            _add(row, f"{path.stem}:{number}", task, videos, items, problems)
    return Loaded(items, problems)


def _load_test(folder: Path) -> Loaded:
    items: list[Item] = []
    problems: list[Problem] = []
    videos = [folder / part / name for part in _FOLDERS for name in ("video", "test_video")]
    for number, row in enumerate(read_rows(find(folder, _TEST, "MLVU's test set"))):
        identity = str(row.get("question_id", f"test:{number}"))
        _add(row, identity, str(row.get("question_type", "")), tuple(videos), items, problems)
    return Loaded(items, problems)


def _add(
    row: Row, identity: str, task: str, folders: tuple[Path, ...], items: list[Item], problems: list[Problem]
) -> None:
    with noting(problems, identity):
        name = field(row, "video")
        video = first_file(*(folder / name for folder in folders))
        if video is None:
            problems.append(Problem("missing_video", identity, f"no {folders[0] / name}"))
            return
        options = options_of(row, "candidates")
        answer = letter_of(field(row, "answer"), options)
        groups = {"task": field({"question_type": task or None, **row}, "question_type")}
        prompt = _prompt(field(row, "question"), options)
        items.append(Item(identity, video, prompt, len(options), answer, groups, identity, _cluster(video)))


def _cluster(video: Path) -> str:
    # 1_plotQA/movie101_1.mp4 and 2_needle/movie101_1.mp4 are different videos.
    return f"{video.parent.name}/{video.name}"


def _prompt(question: str, options: list[str]) -> str:
    """As the benchmark's scripts put it. What they make the answer begin with ends the question, as in lmms-eval."""
    lettered = [f"({letter}) {option}" for letter, option in zip(LETTERS, options, strict=False)]
    lines = [f"Question: {question}", "Options:", *lettered, "Only give the best option.", "Best option: ("]
    return "\n".join(lines)


def parse(text: str, item: Item) -> Choice:
    """The letter before the first closing bracket, as the benchmark's script takes it; else the first one there is."""
    before = re.match(r"\s*\(?\s*([A-J])\s*\)", text)
    if before and before[1] in item.letters:
        return Choice(before[1])
    return Choice(first_capital(text, item.letters))


MLVU = Benchmark(
    "mlvu",
    "MLVU",
    load,
    parse,
    splits=("dev", "test"),
    mean_over="task",
    source="prompt: the scripts of JUNJIE99/MLVU and lmms-eval; metric: M-Avg, the mean of the tasks' accuracies",
)
