"""Clips in the bundled model's own world, with questions of its own kinds and known answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from videox2l.evaluation.calibration.questions import Question
from videox2l.evaluation.suites.tasks import SUITES
from videox2l.video.synthetic import HELD_OUT_SEED, SyntheticClip, render

# Nothing is trained or evaluated on seeds from here on.
_FIRST_SEED = HELD_OUT_SEED + 90_000

# The bundled model has not learned to count: wrong answers say little about settings.
_KINDS = ("retrieval", "ordering", "exists")

# Frames are looked at once a second; two give the codec something to predict from.
_FPS = 2


def rendered_clips(folder: Path, clips: int, scenes: int) -> Iterator[tuple[Path, list[Question]]]:
    """Render clips of ``scenes`` scenes into ``folder``, each with its questions."""
    for number in range(clips):
        seed = _FIRST_SEED + number
        content = SyntheticClip.from_seed(seed, scenes)
        path = folder / f"clip-{number + 1}.mp4"
        render(content, path, fps=_FPS)
        rng = np.random.default_rng(seed)
        tasks = [task for kind in _KINDS for task in SUITES[kind](content, rng)]
        yield path, [Question(task.question, task.answer) for task in tasks]
