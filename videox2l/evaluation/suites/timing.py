"""What scorers cost of a question's time to first token, on the whole path: a file, its archive, answers' receipts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from videox2l.answering import ResidentVideo, ask
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.evaluation.suites.footage import FIRST_SEED
from videox2l.evaluation.suites.run import Plan
from videox2l.models import KVCompressibleModel
from videox2l.models.retriever import OWN
from videox2l.prefill import ingest_video
from videox2l.store import Archive
from videox2l.video import synthetic
from videox2l.video.synthetic import SyntheticClip

_QUESTIONS = 40
_SEED = FIRST_SEED + 90_000


def time_scorers(
    model: KVCompressibleModel, plan: Plan, progress: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """Median milliseconds to the first token, and the median share of it that choosing the chunks takes.

    One row for each length of ``plan`` and each of its scorers, and for no scorer at all (``none``, ``all``). High KVs
    are resident, low KVs are read from a local archive.
    """
    rows: list[dict[str, Any]] = []
    for scenes in plan.scenes:
        progress(f"time to first token, {scenes} scenes")
        rows += _length(model, plan, scenes)
    return rows


def _length(model: KVCompressibleModel, plan: Plan, scenes: int) -> list[dict[str, Any]]:
    content = SyntheticClip.from_seed(_SEED, scenes)
    rng = np.random.default_rng([_SEED, scenes])
    questions = [synthetic.ask(content, "code", rng).text for _ in range(_QUESTIONS)]
    with tempfile.TemporaryDirectory(prefix="videox2l-suite-") as folder:
        path = Path(folder) / "clip.mp4"
        synthetic.render(content, path, fps=2)
        archive = Archive.open(str(Path(folder) / "archive"), create=True)
        identity, _ = ingest_video(model, archive, str(path), compression=plan.compression, retriever=OWN)
        video = ResidentVideo(model, archive.open_index(identity.video_id))
        ask(model, video, questions[0])  # what is only made once
        selections = {name: SelectionConfig(name, plan.k) for name in ("none", *plan.scorers, "all")}
        measured = _times(model, video, questions, selections)
    return [{"scenes": scenes, "select": name, **row} for name, row in measured.items()]


def _times(
    model: KVCompressibleModel,
    video: ResidentVideo,
    questions: Sequence[str],
    selections: Mapping[str, SelectionConfig],
) -> dict[str, dict[str, float]]:
    """In turn, so that other work on the machine disturbs all alike."""
    generation = GenerationConfig(max_new_tokens=1)
    spent: dict[str, list[dict[str, float]]] = {name: [] for name in selections}
    for question in questions:
        for name, selection in selections.items():
            answer = ask(model, video, question, selection, generation)
            spent[name].append(answer.receipt.milliseconds)
    return {
        name: {
            "first_token_ms": median(one["first_token"] for one in found),
            "select_share": median(one.get("select", 0.0) / one["first_token"] for one in found),
        }
        for name, found in spent.items()
    }
