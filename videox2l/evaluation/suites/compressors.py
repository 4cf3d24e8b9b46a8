"""Compressors compared: the same weights, clips and questions; only what is kept of a chunk differs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from videox2l.config import CompressionConfig, SelectionConfig
from videox2l.evaluation.suites.clips import PrefilledClip, levels, tokens_of
from videox2l.evaluation.suites.footage import FIRST_SEED, ComposedClip, Footage, film
from videox2l.evaluation.suites.grading import grade
from videox2l.evaluation.suites.methods import DEFAULT, HIGH_ONLY, LOW_ONLY
from videox2l.evaluation.suites.metrics import accuracy_rows, wilson
from videox2l.evaluation.suites.run import Record
from videox2l.evaluation.suites.tasks import DETAIL, SUITES, Task
from videox2l.models import KVCompressibleModel
from videox2l.selection import QuestionContext, select
from videox2l.video.synthetic import KEYS, SECONDS_PER_SCENE

DENSE = "no compressor"
"""Stands for all models where the ratio is 1: nothing is left to them."""

_SIDE_BY_SIDE = 8  # clips prefilled together, to hold no more of them at once
_REELS = 2  # every key twice, with other codes, motion and neighbours


@dataclass(frozen=True)
class Comparison:
    """What is run. ``clips``: of each length in ``scenes`` (chunks of eight frames). ``seed``: other clips, questions.

    ``ratios``: of all chunks alike. ``pairs``: low and high ratios, to answer from the gist alone, and with ``k``
    chunks of it re-loaded. The ends are like any other chunk.
    """

    scenes: tuple[int, ...] = (16, 64)
    clips: int = 20
    suites: tuple[str, ...] = (DETAIL, "ordering", "exists")
    ratios: tuple[int, ...] = (1, 2, 4, 8, 16)
    pairs: tuple[tuple[int, int], ...] = ((1, 4), (1, 8), (1, 16), (2, 4), (2, 8), (2, 16))
    k: int = SelectionConfig().top_k
    seed: int = 0


def compare(
    models: Mapping[str, KVCompressibleModel], comparison: Comparison, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Ask ``models`` of equal weights, by their compressors' names, the same questions about the same clips.

    ``rows`` have accuracies with their intervals by length, suite, compressor, ratios and method. Bi-level is asked for
    detail alone; its ``hit`` says how often the right chunk was re-loaded.
    """
    progress("rendering scenes")
    most = min(len(KEYS), max(comparison.scenes) + max(comparison.scenes) // 4)
    footage = film(next(iter(models.values())), scenes=most, reels=_REELS, seed=comparison.seed)
    rows: list[dict[str, Any]] = []
    for scenes in comparison.scenes:
        asked = _questions(footage, scenes, comparison)
        for name, model in models.items():
            for low, high in [*((ratio, ratio) for ratio in comparison.ratios), *comparison.pairs]:
                if low == high == 1 and model is not next(iter(models.values())):
                    continue
                progress(f"{scenes} scenes, {name}, {low}x" + (f" and {high}x" if high > low else ""))
                records = _records(model, asked, low, high, comparison.k)
                label = DENSE if high == 1 else name
                rows += [{"compressor": label, "low": low, "high": high, **row} for row in _rows(records)]
    return {"comparison": dataclasses.asdict(comparison), "model": _plain_name(models), "rows": rows}


def _plain_name(models: Mapping[str, KVCompressibleModel]) -> str:
    return next(iter(models.values())).name.partition("?")[0]


def _questions(footage: Footage, scenes: int, comparison: Comparison) -> list[tuple[ComposedClip, list[Task]]]:
    rng = np.random.default_rng([FIRST_SEED, comparison.seed, scenes])
    clips = [footage.compose(scenes, rng) for _ in range(comparison.clips)]
    return [
        (clip, [task for suite in comparison.suites for task in SUITES[suite](clip.content, rng)]) for clip in clips
    ]


def _records(
    model: KVCompressibleModel, asked: Sequence[tuple[ComposedClip, list[Task]]], low: int, high: int, k: int
) -> list[Record]:
    """``low`` equal to ``high``: everything at this ratio; otherwise the gist alone, and with chunks re-loaded."""
    records = []
    compression = CompressionConfig(low, high, SECONDS_PER_SCENE, "level")
    for start in range(0, len(asked), _SIDE_BY_SIDE):
        group = asked[start : start + _SIDE_BY_SIDE]
        prompt, low_kvs, high_kvs = levels(model, [clip for clip, _ in group], compression)
        for index, (clip, tasks) in enumerate(group):
            found = PrefilledClip(model, clip.content, prompt, low_kvs[index], high_kvs[index], [], 0)
            records += _of_clip(found, start + index, tasks, k, gist=high > low)
    return records


def _of_clip(clip: PrefilledClip, number: int, tasks: Sequence[Task], k: int, *, gist: bool) -> list[Record]:
    detail = tokens_of(clip.low)

    def record(task: Task, method: str, right: bool, read: int, hit: bool | None = None) -> Record:
        named = (clip.chunks, number, task.suite, task.variant, task.depth, method, right, read, detail)
        return Record(*named, hit_1=hit)

    kvs, method = (clip.high, HIGH_ONLY) if gist else (clip.low, LOW_ONLY)
    memory = clip.memory(kvs)
    graded = grade(clip.model, memory, tasks)
    records = [record(task, method, right, tokens_of(kvs)) for task, right in zip(tasks, graded, strict=True)]
    if not gist:
        return records
    for task in tasks:
        if task.suite == DETAIL:
            context = QuestionContext(clip.model, clip.model.question_ids(task.question), memory)
            chosen = select(SelectionConfig(top_k=k), clip.chunks, context).chunks
            (right,) = grade(clip.model, clip.reloaded(chosen), [task])
            read = tokens_of(clip.high) + tokens_of([clip.low[chunk] for chunk in chosen])
            records.append(record(task, DEFAULT, right, read, task.chunk in chosen))
    return records


def _rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    rows = accuracy_rows(records, "scenes", "suite")
    hits = [bool(record.hit_1) for record in records if record.hit_1 is not None]
    for row in rows:
        if row["method"] == DEFAULT:
            row |= {"hit": sum(hits) / len(hits), "hit_interval": wilson(sum(hits), len(hits))}
    return rows
