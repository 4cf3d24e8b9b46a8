"""What a training run can be told, and the presets: small frozen dataclasses, in this one place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from videox2l.config import SamplingConfig
from videox2l.errors import ConfigError

Trained = Literal["vst", "all"]
"""Which weights learn. ``vst``: the VSTs' embedding and q/k/v projections. ``all``: the language model too. The vision
tower and the projector always stay as they are, so that visual tokens mean the same before and after."""

Start = Literal["keep", "copy"]
"""Where VSTs begin. ``keep``: as the checkpoint has them. ``copy``: as the ordinary projections, which can read
already. A checkpoint that has none always begins with copies."""

BrokenVideos = Literal["stop", "skip"]
"""What happens at a video that does not decode: the run ends, or goes on without what that video would have taught."""


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)


@dataclass(frozen=True)
class VSTSettings:
    """Everything that decides what a run learns; two runs that differ in nothing here learn the same.

    ``batch``: examples a step, over all workers. ``ratios``: what each chunk's ratio is drawn from. ``questions``: of
    one video, at most so many share its prefill; a video with more becomes several examples. ``warmup_steps`` lead up
    to the learning rate, a cosine leads down to zero at the last step. ``clip_norm``: longest gradient.
    ``frames_per_chunk``: the model's own where it is ``None``.
    """

    steps: int = 1000
    batch: int = 8
    trained: Trained = "vst"
    start: Start = "keep"
    ratios: tuple[int, ...] = (2, 4, 8, 16)
    learning_rate: float = 1e-4
    language_learning_rate: float = 1e-5
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = 30
    clip_norm: float = 1.0
    seed: int = 0
    questions: int = 8
    # A forward holds the activations of all chunks: see the memory estimate of `--dry-run` before raising the limit.
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(max_frames=64))
    frames_per_chunk: int | None = None
    broken_videos: BrokenVideos = "stop"

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "questions"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "language_learning_rate", "weight_decay", "clip_norm"):
            value = getattr(self, name)
            _require(math.isfinite(value) and value >= 0, f"{name} must be a number from 0 on, got {value}")
        for name, kind in (("trained", Trained), ("start", Start), ("broken_videos", BrokenVideos)):
            known = get_args(kind)
            _require(getattr(self, name) in known, f"{name} must be one of {known}, got {getattr(self, name)!r}")
        _require(self.warmup_steps >= 0, f"warmup_steps must not be negative, got {self.warmup_steps}")
        _require(self.seed >= 0, f"seed must not be negative, got {self.seed}")
        _require(len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas), f"betas {self.betas}: two below 1")
        _require(
            len(self.ratios) > 0 and all(ratio >= 1 for ratio in self.ratios),
            f"ratios must be one or more numbers from 1 on, got {self.ratios}",
        )
        frames = self.frames_per_chunk
        _require(frames is None or frames >= 1, f"frames_per_chunk must be at least 1, got {frames}")

    def rate(self, step: int) -> float:
        """The learning rates' factor in ``step`` (from 0): up in a line, down in a cosine."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        done = max(0.0, (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


@dataclass(frozen=True)
class TinyPreset:
    """The bundled model from nothing: its own synthetic clips, vision stage and curriculum (``training/run.py``).

    ``steps``: of the language model; ``None`` for as many as the bundled checkpoint had.
    """

    steps: int | None = None
    seed: int = 0


PRESETS: Mapping[str, VSTSettings | TinyPreset] = {
    "vst": VSTSettings(),
    "vst-and-language": VSTSettings(trained="all"),
    "tiny": TinyPreset(),
}
"""By name: VSTs onto a frozen model; the same with a language model that learns slowly along; the bundled model."""


def with_changes(preset: str, changes: Mapping[str, Any]) -> VSTSettings | TinyPreset:
    """A preset's settings with some changed; ``fps`` and ``max_frames`` are those of its sampling. ``None`` is none.

    :raises ConfigError: there is no such preset, it does not have such a setting, or a value is impossible.
    """
    if preset not in PRESETS:
        raise ConfigError(f"no preset {preset!r}: there are {', '.join(PRESETS)}")
    settings = PRESETS[preset]
    given = {name: value for name, value in changes.items() if value is not None}
    sampling = {name: given.pop(name) for name in ("fps", "max_frames") if name in given}
    if isinstance(settings, VSTSettings):
        sampled = dataclasses.replace(settings.sampling, **sampling)
        return dataclasses.replace(settings, sampling=sampled, **given)
    wrong = [name for name in [*given, *sampling] if name not in ("steps", "seed")]
    if wrong:
        raise ConfigError(f"the preset {preset} has no {wrong[0]}: it makes the bundled model, of steps and seed alone")
    return dataclasses.replace(settings, **given)
