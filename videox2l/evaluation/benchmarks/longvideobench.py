"""LongVideoBench (arXiv 2407.15754): questions that refer to one moment, two to five options, videos up to an hour.

``val`` is ``lvb_val.json``, ``test`` is ``lvb_test_wo_gt.json``, whose answers are not public. Videos are in
``videos/``. The benchmark can interleave subtitles with frames, which a video that was prefilled before its questions
cannot; this is its variant without them.
"""

from __future__ import annotations

from pathlib import Path

from videox2l.evaluation.benchmarks.benchmark import LETTERS, Benchmark, Choice, Item, Loaded, Problem
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
from videox2l.evaluation.benchmarks.parsing import first_capital, guess

_ANNOTATIONS = {"val": "lvb_val.json", "test": "lvb_test_wo_gt.json"}
_INSTRUCTION = "Answer with the option's letter from the given choices directly."


def load(folder: Path, split: str, subtitles: bool) -> Loaded:  # noqa: ARG001 -- asked without them
    """All questions whose video is there."""
    items: list[Item] = []
    problems: list[Problem] = []
    for number, row in enumerate(read_rows(find(folder, [_ANNOTATIONS[split]], "LongVideoBench"))):
        where = str(row.get("id", f"question {number}"))
        with noting(problems, where):
            name = field(row, "video_path")
            video = first_file(folder / "videos" / name)
            if video is None:
                problems.append(Problem("missing_video", where, f"no {folder / 'videos' / name}"))
                continue
            items.append(_item(row, video, split))
    return Loaded(items, problems)


def _item(row: Row, video: Path, split: str) -> Item:
    options = options_of(row, "candidates")
    lettered = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    prompt = "\n".join([f"Question: {field(row, 'question')}", *lettered, _INSTRUCTION])
    groups = {
        "duration (s)": field(row, "duration_group"),
        "question category": field(row, "question_category"),
        "topic": field(row, "topic_category"),
    }
    answer = "" if split == "test" else _answer(row, len(options))
    identity = field(row, "id")
    return Item(identity, video, prompt, len(options), answer, groups, identity, field(row, "video_id"))


def _answer(row: Row, options: int) -> str:
    chosen = row.get("correct_choice")
    if not isinstance(chosen, int) or not 0 <= chosen < options:
        raise BrokenRowError(f"its correct_choice {chosen!r} is no number of an option")
    return LETTERS[chosen]


def parse(text: str, item: Item) -> Choice:
    """The first capital letter of an option. The benchmark guesses where there is none."""
    letter = first_capital(text, item.letters)
    return Choice(letter) if letter else guess(item)


LONGVIDEOBENCH = Benchmark(
    "longvideobench",
    "LongVideoBench",
    load,
    parse,
    splits=("val", "test"),
    max_new_tokens=32,
    source="prompt: the data loader of longvideobench/LongVideoBench; parsing: its task in lmms-eval",
)
