"""What the demo shows and asks: synthetic clips as real H.264 files, whose right answers are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from videox2l.video.synthetic import HELD_OUT_SEED, Question, QuestionKind, SyntheticClip, normalise, questions, render

# Held-out seeds: the bundled model has never seen these clips.
FIRST_SEED = HELD_OUT_SEED + 7_000

# The kinds a visitor sees answered one by one: detail first, then gist.
SHOWN: tuple[QuestionKind, ...] = ("code", "exists", "after", "code", "first")


@dataclass(frozen=True)
class DemoClip:
    """One rendered clip with a pool of questions about it."""

    path: Path
    clip: SyntheticClip
    questions: tuple[Question, ...]

    @property
    def name(self) -> str:
        return self.path.name

    def shown(self) -> Iterator[Question]:
        """One question of each kind in ``SHOWN``, none twice."""
        pool = list(self.questions)
        for kind in SHOWN:
            found = next((question for question in pool if question.kind == kind), None)
            if found is not None:
                pool.remove(found)
                yield found

    def compared(self, count: int) -> list[Question]:
        """Questions for the comparison of levels: detail (codes), which is what re-loading is for.

        Of inner scenes only: the first and the last chunk are kept in detail at both levels.
        """
        edges = (0, len(self.clip.scenes) - 1)
        codes = [question for question in self.questions if question.kind == "code" and question.chunk not in edges]
        return codes[:count]


def render_clips(folder: Path, scenes: tuple[int, ...]) -> Iterator[DemoClip]:
    """Render one clip for each number of scenes (8 seconds each)."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, count in enumerate(scenes):
        seed = FIRST_SEED + number
        clip = SyntheticClip.from_seed(seed, count)
        path = folder / f"clip-{number + 1}-{count}-scenes.mp4"
        render(clip, path)
        yield DemoClip(path, clip, tuple(questions(clip, seed, count=48)))


def is_right(answer: str, question: Question) -> bool:
    """Whether an answer says what the clip shows."""
    return normalise(answer) == normalise(question.answer)
