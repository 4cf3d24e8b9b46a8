"""Which settings are tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from videox2l.config import CompressionConfig, SelectionConfig
from videox2l.errors import ConfigError
from videox2l.kv.codecs import CODECS
from videox2l.scorers import CALIBRATED
from videox2l.selection import needs_scores


@dataclass(frozen=True)
class Setting:
    """``codec`` is that of both levels. ``select``: a scorer with its ``top_k``, ``none`` (high only) or ``all``."""

    compression: CompressionConfig
    codec: str
    select: str
    top_k: int


@dataclass(frozen=True)
class Grid:
    """All combinations of these, and beside them high only and low only for each compression and codec.

    :raises ConfigError: no such codec or scorer, or nothing of a kind.
    """

    compressions: tuple[CompressionConfig, ...]
    codecs: tuple[str, ...] = ("raw", "squeeze", "int8", "int4")
    scorers: tuple[str, ...] = CALIBRATED
    ks: tuple[int, ...] = (1, 2, 4)

    def __post_init__(self) -> None:
        for name in self.codecs:
            if name not in CODECS:
                raise ConfigError(f"no codec {name!r}: there are {', '.join(CODECS)}")
        for name in self.scorers:
            if not needs_scores(SelectionConfig(name)):
                raise ConfigError(f"{name!r} is no scorer: see `videox2l ask --help` for --select")
        if not self.compressions or not self.codecs:
            raise ConfigError("give at least one pair of ratios and one codec")
        if any(k < 1 for k in self.ks):
            raise ConfigError("a scorer chooses 1 chunk or more: high only is tried in any case")

    @classmethod
    def around(cls, made_for: CompressionConfig, ratios: Sequence[tuple[int, int]] = (), **others: Any) -> Grid:
        """The ratios given, by default those that the model is made for and each of them doubled."""
        pairs = tuple(ratios) or tuple(
            (low, high)
            for low in (made_for.low_ratio, 2 * made_for.low_ratio)
            for high in (made_for.high_ratio, 2 * made_for.high_ratio)
        )
        return cls(
            tuple(replace(made_for, low_ratio=low, high_ratio=high) for low, high in dict.fromkeys(pairs)), **others
        )

    def settings(self) -> Iterator[Setting]:
        """All of them."""
        for compression in self.compressions:
            for codec in self.codecs:
                for select, top_k in self.selections():
                    yield Setting(compression, codec, select, top_k)

    def selections(self) -> Iterator[tuple[str, int]]:
        """What is selected, and how many chunks."""
        yield "none", 0
        yield "all", 0
        for scorer in self.scorers:
            for k in self.ks:
                yield scorer, k

    def most_answers(self, questions: int) -> int:
        """Answers at most: those over equal memories are computed once, and lossless codecs change none."""
        lossy = len({"lossless" if CODECS[name].lossless else name for name in self.codecs})
        return questions * (1 + len(self.compressions) * lossy * len(list(self.selections())))
