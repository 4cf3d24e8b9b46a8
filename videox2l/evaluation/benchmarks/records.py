"""What is kept of every answer, and the conditions under which the same question is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from videox2l.config import SelectionConfig
from videox2l.errors import ConfigError
from videox2l.selection import check_selection

Control = Literal["full KV", "low only", "high only", "random"]
CONTROLS: tuple[Control, ...] = get_args(Control)
"""Always beside a selection, on the same model and questions. ``random``: as many chunks as the selection re-loaded."""

SELECTED = "selected"
"""The condition that is measured."""

Scoring = Literal["generate", "likelihood"]
"""``generate``: the letter in the text that the model writes. ``likelihood``: the likeliest letter at its beginning."""


@dataclass(frozen=True)
class Asking:
    """How questions are asked. ``max_new_tokens``: by default the benchmark's own."""

    selection: SelectionConfig = field(default_factory=SelectionConfig)
    controls: tuple[Control, ...] = CONTROLS
    scoring: Scoring = "generate"
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        check_selection(self.selection)
        unknown = [name for name in self.controls if name not in CONTROLS]
        if unknown:
            raise ConfigError(f"no control {unknown[0]!r}: give some of {', '.join(CONTROLS)}")
        if self.scoring not in get_args(Scoring):
            raise ConfigError(f"scoring must be {' or '.join(get_args(Scoring))}, got {self.scoring!r}")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")


@dataclass(frozen=True)
class Record:
    """One answer. ``error`` says why there is none; ``letter`` is empty where the text names none.

    ``correct``: ``None`` without an answer, or where the right one is not public. ``chunks``: those re-loaded;
    ``degraded``: how many more should have been, but their low KVs could not be had. ``bytes_used``: stored size of the
    KVs that it rests on, 0 for the full KV cache, which is not stored.
    """

    item: str
    condition: str
    prompt: str
    answer: str
    text: str = ""
    letter: str = ""
    guessed: bool = False
    correct: bool | None = None
    error: str = ""
    chunks: tuple[int, ...] = ()
    degraded: int = 0
    memory_tokens: int = 0
    bytes_used: int = 0

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Record:
        """The inverse of :func:`dataclasses.asdict`."""
        return cls(**{**row, "chunks": tuple(row["chunks"])})
