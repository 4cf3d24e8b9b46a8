"""The outcome of a batch, as data and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.text import Text

from pipelines.ingest.summary import clock, size

# Reasons shown in the terminal; the output has all.
_REASONS = 5


@dataclass(frozen=True)
class BatchSummary:
    """``questions`` are the rows of the output; ``earlier`` of them were answered by a run before.

    ``failed``: how many have no answer, by reason. ``read`` and ``used``: bytes of KVs by level, as receipts count
    them. ``degraded``: answers without all the low KVs that were chosen. For a dry run ``read`` is an upper estimate,
    and ``planned`` is set. ``notes``: what the user should know.
    """

    output: str
    videos: int
    questions: int
    earlier: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    degraded: int = 0
    answer_tokens: int = 0
    read: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)
    wall_s: float = 0.0
    answering_s: float = 0.0
    planned: bool = False
    notes: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Every question has an answer."""
        return not self.failed

    @property
    def per_second(self) -> float:
        """Questions of this run a second, from when the first answer can come on: without the start of Ray."""
        return (self.questions - self.earlier) / self.answering_s if self.answering_s else 0.0

    def __rich__(self) -> RenderableType:
        """For the terminal."""
        return Group(*(Text(line) for line in [*self._lines(), *self.notes]))

    def _lines(self) -> list[str]:
        bad = sum(self.failed.values())
        if self.planned:
            lines = [
                f"{self.questions} questions about {self.videos} videos; {self.earlier} are answered already",
                f"would read at most {_sizes(self.read)}",
            ]
        else:
            lines = [
                f"{self.questions - bad} of {self.questions} questions about {self.videos} videos answered in "
                f"{clock(self.wall_s)}{self._pace()}{self._of_before()}",
                f"read: {_sizes(self.read)}; the answers rest on {_sizes(self.used)}; {self.answer_tokens} tokens",
                f"answers: {self.output}",
            ]
        if self.degraded:
            lines.append(f"{self.degraded} answers lack low KVs that were chosen: see their column `degraded`")
        reasons = Counter(self.failed).most_common()
        lines += [f"{count} failed: {reason}" for reason, count in reasons[:_REASONS]]
        if len(reasons) > _REASONS:
            lines.append(f"{sum(count for _, count in reasons[_REASONS:])} failed for other reasons: see `error`")
        return lines

    def _pace(self) -> str:
        return f", {self.per_second:.1f} a second" if self.answering_s else ""

    def _of_before(self) -> str:
        return f" ({self.earlier} by an earlier run)" if self.earlier else ""


def _sizes(levels: Mapping[str, int]) -> str:
    return ", ".join(f"{level} {size(count)}" for level, count in levels.items()) or "nothing"
