"""What a user can turn: one small frozen dataclass per stage, validated when it is made. Nothing here is global."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from videox2l.errors import ConfigError

EdgeRatio = int | Literal["low", "level"]
"""Ratio of a video's first and last chunk: ``"low"`` (the low ratio at both levels), ``"level"`` (no exception), or a
number for both levels. The reference implementation hard-codes the number 2."""

Remainder = Literal["close", "floor"]
"""What happens to raw tokens after a chunk's last full group of ``ratio``: ``"close"`` ends them with one more VST so
that nothing goes unsummarised; ``"floor"`` drops them, as the reference does."""

PrefillMode = Literal["exact", "single-pass"]
"""``"exact"``: a pass over the language model for each level, as in the paper. ``"single-pass"``: one pass for both. It
computes the high level exactly; the low level's tokens read the raw tokens as that pass has them."""


@dataclass(frozen=True)
class SamplingConfig:
    """Which frames of a video are looked at. Times are presentation times, so variable frame rate is exact.

    ``fps``: frames a second of video (the default, 1, is what the Video-XL papers use).
    ``frames``: instead, this many frames spread evenly over the video.
    ``max_frames``: with ``fps``, never more than this; longer videos are sampled evenly at this number.
    """

    fps: float = 1.0
    frames: int | None = None
    max_frames: int | None = None

    def __post_init__(self) -> None:
        # 240 frames/s is beyond what cameras of the target corpora record; more is a typing error.
        if not (math.isfinite(self.fps) and 0 < self.fps <= 240):
            raise ConfigError(f"fps must be above 0 and at most 240 frames a second, got {self.fps}")
        for name in ("frames", "max_frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}")
        if self.frames is not None and self.max_frames is not None:
            raise ConfigError("give either frames (a fixed number) or max_frames (a limit on fps), not both")


@dataclass(frozen=True)
class CompressionConfig:
    """How strongly each level of a chunk is compressed (arXiv 2506.21184, section 3).

    A ratio r keeps one VST for r raw visual tokens. ``low_ratio`` is the detailed level, ``high_ratio`` the gist.
    """

    low_ratio: int = 2
    high_ratio: int = 32
    frames_per_chunk: int = 10
    edge_ratio: EdgeRatio = "low"
    remainder: Remainder = "close"
    prefill: PrefillMode = "exact"

    def __post_init__(self) -> None:
        for name in ("low_ratio", "high_ratio", "frames_per_chunk"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.high_ratio < self.low_ratio:
            raise ConfigError(
                f"high_ratio ({self.high_ratio}) must not be below low_ratio ({self.low_ratio}): "
                "the high level is the more compressed one"
            )
        if isinstance(self.edge_ratio, int):
            if self.edge_ratio < 1:
                raise ConfigError(f"edge_ratio must be at least 1, got {self.edge_ratio}")
        elif self.edge_ratio not in ("low", "level"):
            raise ConfigError(f"edge_ratio must be 'low', 'level' or a number, got {self.edge_ratio!r}")
        if self.remainder not in get_args(Remainder):
            raise ConfigError(f"remainder must be one of {get_args(Remainder)}, got {self.remainder!r}")
        if self.prefill not in get_args(PrefillMode):
            raise ConfigError(f"prefill must be one of {get_args(PrefillMode)}, got {self.prefill!r}")

    def ratio(self, level: Literal["low", "high"], *, edge: bool) -> int:
        """The ratio of one chunk at ``level``; ``edge`` says whether it is the first or last of its video."""
        own = self.low_ratio if level == "low" else self.high_ratio
        if not edge or self.edge_ratio == "level":
            return own
        return self.low_ratio if self.edge_ratio == "low" else self.edge_ratio

    def made_by(self, level: Literal["low", "high"]) -> tuple[Literal["low", "high"], ...]:
        """The levels that come out of a pass of the raw tokens with ``level``'s: in a single pass the high one's has
        both, and there is no other."""
        if self.prefill == "exact":
            return (level,)
        return ("high", "low") if level == "high" else ()


UNSAID = {"prefill": "exact"}
"""What goes without saying where a compression is written down, so that fingerprints are those of format 1 from its
beginning: what says nothing about it was always exact."""


@dataclass(frozen=True)
class Budget:
    """What a question may cost at most; ``None`` leaves it open.

    ``max_low_chunks``, ``max_bytes``: chunks re-loaded at low compression, and the size of their low KVs in the
    archive; the best scores count first. ``max_first_token_ms``: from the question's arrival on, in milliseconds;
    chunks whose low KVs have not come in time are answered from high KVs.
    """

    max_low_chunks: int | None = None
    max_bytes: int | None = None
    max_first_token_ms: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_low_chunks", "max_bytes", "max_first_token_ms"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"{name} must be 0 or more, got {value}")


@dataclass(frozen=True)
class SelectionConfig:
    """Which chunks a question re-loads at low compression.

    ``select`` names a relevance scorer (``attention``, ``keys``, ``random``, …) or several whose ranks are joined
    (``attention+keys``), ``all``, ``none``, ``uniform``, ``recent``, or chunk numbers (``0,4-6``). ``top_k``: how many
    chunks a scorer may choose. The default, 2, covers an event that straddles a chunk border. ``budget`` bounds what
    any of them may cost. ``policy`` says which of the best are taken: see :mod:`videox2l.selection.policy`.
    ``correct_drift`` takes out of the scores what grows or falls with time.
    """

    select: str = "attention"
    top_k: int = 2
    budget: Budget = Budget()
    policy: str = "top_k"
    correct_drift: bool = False

    def __post_init__(self) -> None:
        if self.top_k < 0:
            raise ConfigError(f"top_k must not be negative, got {self.top_k}")


@dataclass(frozen=True)
class GenerationConfig:
    """How an answer is decoded. ``temperature`` 0 is greedy, which makes answers reproducible.

    ``stop``: texts that end the answer and are not part of it. ``logprobs``: ``None``, or how many of the likeliest
    tokens are told beside each chosen one, with their log probabilities.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if not (math.isfinite(self.temperature) and 0 <= self.temperature <= 2):
            raise ConfigError(f"temperature must be between 0 and 2, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        if self.seed is not None and not -(2**63) <= self.seed < 2**64:  # what torch's generators take
            raise ConfigError(f"seed must be from -2**63 to 2**64 - 1, got {self.seed}")
        if not all(self.stop):
            raise ConfigError("a stop text must not be empty")
        if self.logprobs is not None and self.logprobs < 0:
            raise ConfigError(f"logprobs must not be negative, got {self.logprobs}")


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration dataclass as plain JSON types, for manifests and fingerprints; without what is :data:`UNSAID`."""
    document = dataclasses.asdict(config)
    if isinstance(config, CompressionConfig):
        return {name: value for name, value in document.items() if (name, value) not in UNSAID.items()}
    return document
