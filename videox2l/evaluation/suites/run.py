"""All suites over all methods: one record for each question and method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from videox2l.config import CompressionConfig, EdgeRatio, PrefillMode, SelectionConfig
from videox2l.evaluation.suites import methods
from videox2l.evaluation.suites.clips import PrefilledClip, prefill_clips, tokens_of
from videox2l.evaluation.suites.footage import FIRST_SEED, Footage
from videox2l.evaluation.suites.grading import grade
from videox2l.evaluation.suites.methods import CONTROLS, QUESTION_AWARE, RIGHT_CHUNK, Remembered
from videox2l.evaluation.suites.tasks import SUITES, Task
from videox2l.models import KVCompressibleModel
from videox2l.scorers import EVALUATED
from videox2l.selection import QuestionContext, select
from videox2l.video.synthetic import KEYS, SECONDS_PER_SCENE


@dataclass(frozen=True)
class Plan:
    """What is run. ``clips``: of each length in ``scenes`` (chunks of eight frames). ``k``: chunks re-loaded.

    The compression is that of the paper, 2 and 32, with ends like any other chunk. ``seed``: other clips and questions.
    ``presses``: of ``kvpress``, to prune by.
    """

    scenes: tuple[int, ...] = (4, 8, 16, 32, 64)
    clips: int = 20
    suites: tuple[str, ...] = tuple(SUITES)
    scorers: tuple[str, ...] = EVALUATED
    k: int = SelectionConfig().top_k
    low_ratio: int = 2
    high_ratio: int = 32
    edge: EdgeRatio = "level"
    prefill: PrefillMode = "exact"
    seed: int = 0
    presses: tuple[str, ...] = ()

    @property
    def compression(self) -> CompressionConfig:
        """One scene is one chunk."""
        return CompressionConfig(self.low_ratio, self.high_ratio, SECONDS_PER_SCENE, self.edge, prefill=self.prefill)


@dataclass(frozen=True)
class Record:
    """How one question fared with one method.

    ``tokens_read`` of the video's low-only ``low_tokens``: bytes are proportional. ``hit_1``, ``hit_2``: whether the
    chunk that holds the answer was among the scorer's first one and two.
    """

    scenes: int
    clip: int
    suite: str
    variant: str
    depth: float | None
    method: str
    right: bool
    tokens_read: int
    low_tokens: int
    hit_1: bool | None = None
    hit_2: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return asdict(self)


def run(
    model: KVCompressibleModel, footage: Footage, plan: Plan, progress: Callable[[str], None] = lambda _: None
) -> Iterator[Record]:
    """Compose clips of ``footage`` and ask every suite's questions over every method's memory."""
    for scenes in plan.scenes:
        rng = np.random.default_rng([FIRST_SEED, plan.seed, scenes])
        clips = [footage.compose(scenes, rng) for _ in range(plan.clips)]
        prefilled = prefill_clips(model, clips, plan.compression, plan.k)
        for number, clip in enumerate(prefilled):
            progress(f"{scenes} scenes, clip {number + 1} of {plan.clips}")
            tasks = [task for suite in plan.suites for task in SUITES[suite](clip.content, rng)]
            yield from _Clip(clip, number, tasks, plan).records()


class _Clip:
    """One clip's questions; answers over equal memories are graded once."""

    def __init__(self, clip: PrefilledClip, number: int, tasks: Sequence[Task], plan: Plan) -> None:
        self._clip, self._number, self._tasks, self._plan = clip, number, tasks, plan
        self._graded: dict[tuple[tuple[int, ...], Task], bool] = {}

    def records(self) -> Iterator[Record]:
        for name, method in methods.unasked(self._plan.presses):
            yield from self._same_for_all(name, method(self._clip))
        gist = self._clip.reloaded(())
        for task in self._tasks:
            model = self._clip.model
            context = QuestionContext(
                model,
                model.question_ids(task.question),
                gist,
                question=task.question,
                retrieved=self._clip.retrieved,
            )
            for name in (*self._plan.scorers, *CONTROLS):
                yield self._reloading(name, task, context)
            if task.chunk is not None:
                yield self._record(RIGHT_CHUNK, task, self._right(task, (task.chunk,)), self._read((task.chunk,)))
            asked = methods.pruned_for(self._clip, task.question)
            (right,) = grade(self._clip.model, asked.memory, [task], asked.position)
            yield self._record(QUESTION_AWARE, task, right, asked.tokens_read)

    def _same_for_all(self, name: str, found: Remembered) -> Iterator[Record]:
        graded = grade(self._clip.model, found.memory, self._tasks, found.position)
        for task, right in zip(self._tasks, graded, strict=True):
            yield self._record(name, task, right, found.tokens_read)

    def _reloading(self, name: str, task: Task, context: QuestionContext) -> Record:
        chosen = select(SelectionConfig(name, self._plan.k), self._clip.chunks, context)
        hits: list[bool | None] = [None, None]
        if chosen.scores is not None and task.chunk is not None:
            best = np.argsort([-(score or 0.0) for score in chosen.scores], kind="stable").tolist()
            hits = [task.chunk in best[:count] for count in (1, 2)]
        right = self._right(task, chosen.chunks)
        return self._record(f"bi-level, {name}", task, right, self._read(chosen.chunks), *hits)

    def _read(self, chunks: Sequence[int]) -> int:
        """Everything high, which scores come from, and these low."""
        return tokens_of(self._clip.high) + tokens_of([self._clip.low[chunk] for chunk in chunks])

    def _right(self, task: Task, chunks: tuple[int, ...]) -> bool:
        if (chunks, task) not in self._graded:
            (self._graded[chunks, task],) = grade(self._clip.model, self._clip.reloaded(chunks), [task])
        return self._graded[chunks, task]

    def _record(self, method: str, task: Task, right: bool, read: int, *hits: bool | None) -> Record:
        low = tokens_of(self._clip.low)
        scenes = self._clip.chunks
        return Record(scenes, self._number, task.suite, task.variant, task.depth, method, right, read, low, *hits)


def most_keys(plan: Plan) -> int:
    """Scenes a reel needs for the longest clip, and some more, so that clips differ and keys can be absent."""
    return min(len(KEYS), max(plan.scenes) + max(plan.scenes) // 4)
