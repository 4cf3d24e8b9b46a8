"""Scenes to make clips of: rendered from held-out seeds through a real H.264 encoder, decoded, and seen by the model.

Rendering costs more than everything that is asked later. So a few reels are filmed, and a clip is a row of their
scenes: hundreds of different clips from two reels.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from videox2l.config import SamplingConfig
from videox2l.models import KVCompressibleModel, Timeline
from videox2l.video import decode_chunks, plan_video
from videox2l.video.synthetic import HELD_OUT_SEED, SECONDS_PER_SCENE, Key, Scene, SyntheticClip, render

# Nothing else trains, calibrates or evaluates on seeds from here on.
FIRST_SEED = HELD_OUT_SEED + 40_000

# Frames are looked at once a second; two give the codec something to predict from.
_FPS = 2


@dataclass(frozen=True)
class Take:
    """One scene as it was filmed, and its visual tokens ``[T, N]``. A scene is one chunk."""

    scene: Scene
    visual_TN: torch.Tensor


@dataclass(frozen=True)
class ComposedClip:
    """A clip's content and its takes in order."""

    content: SyntheticClip
    takes: tuple[Take, ...]

    @property
    def timeline(self) -> Timeline:
        """When its frames are shown: one a second, as they were looked at."""
        return Timeline.steady(len(self.takes) * SECONDS_PER_SCENE)


class Footage:
    """Takes by the key of their scene."""

    def __init__(self, takes: Sequence[Take]) -> None:
        self._takes: dict[Key, list[Take]] = {}
        for take in takes:
            self._takes.setdefault(take.scene.key, []).append(take)

    def compose(self, scenes: int, rng: np.random.Generator) -> ComposedClip:
        """A random clip of ``scenes`` different keys, each in a random one of its takes."""
        keys = list(self._takes)
        if scenes > len(keys):
            raise ValueError(f"footage of {len(keys)} keys makes no clip of {scenes} scenes: film longer reels")
        chosen = [self._takes[keys[place]] for place in rng.permutation(len(keys))[:scenes]]
        takes = tuple(of_key[rng.integers(len(of_key))] for of_key in chosen)
        return ComposedClip(SyntheticClip(tuple(take.scene for take in takes)), takes)


def film(model: KVCompressibleModel, *, scenes: int, reels: int, seed: int = 0) -> Footage:
    """Film ``reels`` clips of ``scenes`` scenes each; ``seed`` gives other ones."""
    return Footage([take for reel in range(reels) for take in _reel(model, FIRST_SEED + 1000 * seed + reel, scenes)])


def _reel(model: KVCompressibleModel, seed: int, scenes: int) -> list[Take]:
    content = SyntheticClip.from_seed(seed, scenes)
    takes = []
    with tempfile.TemporaryDirectory(prefix="videox2l-suite-") as folder:
        path = Path(folder) / "reel.mp4"
        render(content, path, fps=_FPS)
        planned = plan_video(path, SamplingConfig(), SECONDS_PER_SCENE).chunks
        for scene, item in zip(content.scenes, decode_chunks(path, planned, model.frame_format), strict=True):
            takes.append(Take(scene, model.encode_frames(torch.from_numpy(item.frames_FHWC))))
    return takes
