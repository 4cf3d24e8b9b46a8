"""VNBench (arXiv 2406.09367): needles put into videos, to be retrieved, ordered and counted; nine tasks.

``VNBench-main-4try.json`` asks every question four times with its options in other places; it counts as answered if
all four are right. Videos are in ``VNBench_new/``.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath

from videox2l.evaluation.benchmarks.benchmark import LETTERS, Benchmark, Choice, Item, Loaded, Problem
from videox2l.evaluation.benchmarks.files import (
    BrokenRowError,
    Row,
    field,
    find,
    first_file,
    letter_of,
    noting,
    options_of,
    read_rows,
)

_TRIES = 4
_ABILITIES = {"ret": "retrieval", "ord": "ordering", "cnt": "counting"}
_INSTRUCTION = "Answer with the option's letter from the given choices directly."


def load(folder: Path, split: str, subtitles: bool) -> Loaded:  # noqa: ARG001 -- there is one split, and no subtitles
    """All questions of which four tries and the video are there."""
    items: list[Item] = []
    problems: list[Problem] = []
    for number, row in enumerate(read_rows(find(folder, ["VNBench-main-4try.json"], "VNBench"))):
        with noting(problems, f"question {number}"):
            name = PurePosixPath(field(row, "video"))
            where = f"{name.stem}:{field(row, 'type')}:{field(row, 'try')}"
            # The annotations write the folder as if it were at the root of the disk.
            video = first_file(
                folder / str(name).lstrip("/"), *(folder / part / name.name for part in ("videos", "video", ""))
            )
            if video is None:
                problems.append(Problem("missing_video", where, f"no {folder / str(name).lstrip('/')}"))
                continue
            with noting(problems, where):
                items.append(_item(row, where, video))
    return _complete(items, problems)


def _item(row: Row, identity: str, video: Path) -> Item:
    options = options_of(row, "options")
    answer = letter_of(field(row, "gt"), options)
    told = row.get("gt_option")
    if told is not None and told not in (answer, LETTERS.index(answer)):
        raise BrokenRowError(f"its gt is option {answer}, but its gt_option {told!r}")
    lettered = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    task = field(row, "type")
    groups = {"task": task, "ability": _ABILITIES.get(task.partition("_")[0], task)}
    prompt = "\n".join([field(row, "question"), *lettered, _INSTRUCTION])
    # Videos 3261112327_ret_insert1 and 3261112327_cnt_edit2 are the same one with other needles in it.
    cluster = video.stem.removesuffix(f"_{task}")
    return Item(identity, video, prompt, len(options), answer, groups, f"{video.stem}:{task}", cluster)


def _complete(items: list[Item], problems: list[Problem]) -> Loaded:
    of_unit: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        of_unit[item.unit].append(item)
    for unit, tries in of_unit.items():
        if len(tries) != _TRIES:
            problems.append(Problem("incomplete", unit, f"{len(tries)} of {_TRIES} tries", len(tries)))
    return Loaded([item for item in items if len(of_unit[item.unit]) == _TRIES], problems)


def parse(text: str, item: Item) -> Choice:
    """As the benchmark's script: of what stands before the first full stop, the first of A, B, C, D that occurs."""
    before = text.split(".")[0]
    return Choice(next((letter for letter in item.letters if letter in before), ""))


VNBENCH = Benchmark(
    "vnbench",
    "VNBench",
    load,
    parse,
    mean_over="task",
    tries=_TRIES,
    source="prompt and metric: the README and evaluation script of joez17/VideoNIAH",
)
