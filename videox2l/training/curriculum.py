"""What is trained when: from one uncompressed scene to 64 scenes at every compression.

Three things were found to matter. The model first has to learn to look codes up at all, which it does within minutes
with full attention over one scene, and hardly ever behind VSTs. VSTs then start as copies of the ordinary projections.
And what is wanted at question time, a memory of mixed ratios, has to be seen in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np

from videox2l.training.clips import KindMix
from videox2l.training.model_config import LOW_RATIO, TRAINED_RATIOS

_T = TypeVar("_T")

Mode = Literal["full", "uniform", "bi-level", "mixed"]
"""How a step's clips are compressed. ``full``: not at all. ``uniform``: one ratio for all chunks. ``bi-level``: a high
ratio, but the low one for the first and last chunk and up to three others. ``mixed``: a random ratio for each chunk."""

UNIFORM_WEIGHTS: Mapping[int, float] = {2: 0.46, 4: 0.18, 8: 0.12, 16: 0.12, 32: 0.12}
_HIGH_RATIOS = (8, 16, 16, 32)
# In the bi-level mode most codes are asked of re-loaded scenes: those of the others are mostly not there to be read.
_ASK_RELOADED_SHARE = 0.8
# Share of code questions. Behind strong compression few digits can be told; questions there are mostly about the gist.
_CODE_SHARE, _CODE_SHARE_STRONG = 0.4, 0.15
_STRONG_RATIO = 16
# Questions other than codes. Finding scenes comes first: what comes after one cannot be learned without, and asking for
# it from the start made everything slower. Later it is asked for most, because it takes longest.
FIND_SCENES: KindMix = {"exists": 0.6, "after": 0.2, "first": 0.1, "last": 0.1}
ORDER_SCENES: KindMix = {"exists": 0.22, "after": 0.6, "first": 0.09, "last": 0.09}
_GAP_SHARE = 0.2  # of the steps leave out positions, to show distances longer than the clips
_MAX_GAP = 300


@dataclass(frozen=True)
class Stage:
    """A part of the curriculum. It ends when codes are read well enough, or at this share (``end``) of all steps.

    ``scenes``: clip lengths, drawn uniformly. ``modes``: weights. ``ratios``: which of the uniform ratios are drawn.
    ``hard_share``: of the absent keys asked for, how many share colour and shape with the clip. ``leave_at``: running
    share of right digits, in the stage's easiest mode, that ends the stage early. ``gist``: questions other than codes.
    ``order``: whether heads are told where the answers to questions of order lie. ``longest_full``: scenes of the
    longest clip that is seen uncompressed.
    """

    name: str
    scenes: tuple[int, ...]
    modes: Mapping[Mode, float]
    end: float
    leave_at: float | None = None
    ratios: tuple[int, ...] = TRAINED_RATIOS
    hard_share: float = 0.3
    gist: KindMix = field(default_factory=lambda: FIND_SCENES)
    order: bool = False
    longest_full: int = 16


STAGES: tuple[Stage, ...] = (
    Stage("one scene, uncompressed", (1,), {"full": 1.0}, end=0.08, leave_at=0.93),
    Stage("two scenes, uncompressed", (1, 2, 2), {"full": 1.0}, end=0.15, leave_at=0.9),
    Stage("VSTs", (1, 2, 2, 4), {"full": 0.2, "uniform": 0.8}, end=0.27, leave_at=0.9, ratios=(2, 2, 4)),
    Stage("more scenes", (2, 4, 4, 8), {"full": 0.1, "uniform": 0.5, "bi-level": 0.2, "mixed": 0.2}, end=0.36),
    Stage(
        "long clips",
        (2, 4, 4, 8, 8, 16, 32, 64),
        {"full": 0.06, "uniform": 0.46, "bi-level": 0.33, "mixed": 0.15},
        end=1.0,
        hard_share=0.6,
        gist=ORDER_SCENES,
        order=True,
    ),
)
FIRST_VST_STAGE = 2
"""Entering this stage copies the ordinary q/k/v projections into the VSTs'."""

PLAIN_STAGES: tuple[Stage, ...] = (
    Stage(
        "uncompressed",
        (2, 4, 8, 16, 32, 32, 64),
        {"full": 1.0},
        end=1.0,
        hard_share=0.6,
        gist=ORDER_SCENES,
        order=True,
        longest_full=64,
    ),
)
"""For the plain sibling, which starts from the trained model: it reads up to 16 scenes uncompressed by then."""


@dataclass(frozen=True)
class StepPlan:
    """One step's shape: how many clips, scenes and questions; ratios per chunk (``None``: uncompressed)."""

    mode: str
    clips: int
    scenes: int
    questions: int
    ratios: tuple[int, ...] | None
    code_scenes: tuple[int, ...] | None
    gaps: tuple[int, ...] | None
    code_share: float = _CODE_SHARE


def sizes(scenes: int) -> tuple[int, int]:
    """Clips a step and questions a clip, chosen so that steps of any clip length take about equally long."""
    clips = max(2, min(12, 96 // scenes))
    return clips, max(12, min(48, 128 // clips))


def plan_step(stage: Stage, rng: np.random.Generator) -> StepPlan:
    """Draw the next step of a stage."""
    scenes = int(rng.choice(stage.scenes))
    mode: Mode = _draw(stage.modes, rng)
    clips, questions = sizes(scenes)
    if mode == "full":
        # Quadratic in the clip's length; for the model with VSTs it is a yardstick only.
        scenes = min(scenes, stage.longest_full)
        clips, questions = sizes(scenes)
        return StepPlan("full", clips, scenes, questions, None, None, None)
    code_scenes: tuple[int, ...] | None = None
    if mode == "uniform":
        weights = {ratio: UNIFORM_WEIGHTS[ratio] for ratio in stage.ratios}
        ratio = _draw(weights, rng)
        ratios = [ratio] * scenes
        name = f"{ratio}x"
    elif mode == "bi-level":
        high = int(rng.choice(_HIGH_RATIOS))
        reloaded = {int(i) for i in rng.choice(scenes, size=min(scenes, int(rng.integers(4))), replace=False)}
        reloaded |= {0, scenes - 1}
        ratios = [LOW_RATIO if chunk in reloaded else high for chunk in range(scenes)]
        if rng.random() < _ASK_RELOADED_SHARE:
            code_scenes = tuple(sorted(reloaded))
        name = "bi-level" if code_scenes else "bi-level, any scene"
    else:
        ratios = [int(ratio) for ratio in rng.choice(TRAINED_RATIOS, size=scenes)]
        name = "mixed"
    code_share = _CODE_SHARE_STRONG if min(ratios) >= _STRONG_RATIO else _CODE_SHARE
    return StepPlan(name, clips, scenes, questions, tuple(ratios), code_scenes, _gaps(scenes, rng), code_share)


def _gaps(scenes: int, rng: np.random.Generator) -> tuple[int, ...] | None:
    if rng.random() >= _GAP_SHARE:
        return None
    gaps = [0] * scenes
    for _ in range(int(rng.integers(1, 4))):
        gaps[int(rng.integers(scenes))] += int(rng.integers(_MAX_GAP))
    return tuple(gaps)


def _draw(weights: Mapping[_T, float], rng: np.random.Generator) -> _T:
    choices: Sequence[_T] = list(weights)
    shares = np.array(list(weights.values()))
    return choices[int(rng.choice(len(choices), p=shares / shares.sum()))]
