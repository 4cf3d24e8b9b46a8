"""What a benchmark is to the job that runs it: a folder becomes questions, an answer's text becomes a letter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from videox2l.errors import ConfigError

LETTERS = "ABCDEFGHIJ"
"""Options are lettered. No benchmark here has more than six."""


@dataclass(frozen=True)
class Item:
    """One multiple-choice question as it is asked.

    ``prompt``: the whole text behind the video. ``options``: how many there are. ``answer``: the right letter, empty
    where it is not public. ``groups``: what the benchmark reports accuracy by, such as ``{"task": "plotQA"}``.
    ``unit``: what counts as one in the benchmark's score; questions that count together, all of which must be right,
    share it. ``cluster``: what its score depends on with others: the video, unless several are made of the same one.
    """

    id: str
    video: Path
    prompt: str
    options: int
    answer: str
    groups: Mapping[str, str]
    unit: str
    cluster: str

    @property
    def letters(self) -> str:
        """Of its options."""
        return LETTERS[: self.options]


@dataclass(frozen=True)
class Problem:
    """Something of a benchmark that is not measured, and why: never left out in silence.

    ``kind``: ``missing_video``, ``broken`` (annotations that make no sense), ``not_multiple_choice``, ``incomplete``
    (questions that count together only), ``not_ingested``, ``not_asked``. ``where``: the question or the video.
    ``questions``: how many it takes out.
    """

    kind: str
    where: str
    why: str
    questions: int = 1


@dataclass(frozen=True)
class Loaded:
    """The questions of a folder, and what is wrong with the others."""

    items: Sequence[Item] = ()
    problems: Sequence[Problem] = ()


@dataclass(frozen=True)
class Choice:
    """The letter that an answer was taken for. ``guessed``: it names none, and the benchmark guesses then."""

    letter: str
    guessed: bool = False


@dataclass(frozen=True)
class Benchmark:
    """One benchmark. ``load(folder, split, subtitles)`` raises :class:`ConfigError` for a folder of another layout.

    ``parse(text, item)``: the letter in an answer; an empty one where there is none, which is wrong. ``splits``: the
    first is the default. ``mean_over``: the group whose accuracies are averaged into the score; without it every
    question counts the same. ``tries``: questions that share a unit. ``max_new_tokens``: longest answer.
    """

    name: str
    title: str
    load: Callable[[Path, str, bool], Loaded]
    parse: Callable[[str, Item], Choice]
    splits: tuple[str, ...] = ("test",)
    subtitles: bool = False
    mean_over: str | None = None
    tries: int = 1
    max_new_tokens: int = 16
    source: str = field(default="", compare=False)
    """Where prompt and metric are defined."""

    def read(self, folder: Path, split: str | None = None, *, subtitles: bool = False) -> Loaded:
        """The questions below ``folder``.

        :raises ConfigError: no such split, no subtitles in this benchmark, or a folder of another layout.
        """
        if split is not None and split not in self.splits:
            raise ConfigError(f"{self.title} has no split {split!r}: give {' or '.join(self.splits)}")
        if subtitles and not self.subtitles:
            raise ConfigError(f"{self.title} is asked without subtitles here: leave out --subtitles")
        if not folder.is_dir():
            raise ConfigError(f"no folder {folder}: give the one that {self.title} was downloaded into")
        loaded = self.load(folder, split or self.splits[0], subtitles)
        if not loaded.items and not loaded.problems:
            raise ConfigError(f"the annotations of {self.title} in {folder} hold no questions")
        return loaded
