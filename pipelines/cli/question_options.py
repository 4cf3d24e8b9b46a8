"""Options of commands that ask questions: which chunks are re-loaded, and how answers are decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from pipelines.cli import options
from videox2l.config import GenerationConfig, SelectionConfig
from videox2l.scorers import select_words


@dataclass(frozen=True)
class Choice:
    """Which chunks a question re-loads in detail."""

    select: Annotated[str, typer.Option(help=f"Chunks to re-load in detail: {select_words('`')}.")] = "attention"
    top_k: Annotated[int, typer.Option(help="How many chunks a scorer may choose.", min=0)] = 2
    policy: Annotated[
        str,
        typer.Option(
            help="Which of the best are taken: `top_k`, `adaptive` (more and more, until the answer stays the same), "
            "`threshold`, `mass` or `coverage`; the last three may be followed by a number from 0 to 1, as in "
            "`coverage:0.5`."
        ),
    ] = "top_k"
    correct_drift: Annotated[
        bool, typer.Option("--correct-drift", help="Take out of the scores what grows or falls with time.")
    ] = False
    budget: Annotated[
        str,
        typer.Option(
            help="What a question may cost: `chunks=2` (read in detail), `bytes=4MiB` (of low KVs), `ms=500` (until "
            "its first token); several with commas between.",
            metavar="LIMITS",
        ),
    ] = ""

    def config(self) -> SelectionConfig:
        """:raises ConfigError: there is no such selection, policy or budget."""
        from videox2l.selection import check_selection

        found = SelectionConfig(self.select, self.top_k, options.budget(self.budget), self.policy, self.correct_drift)
        check_selection(found)
        return found


@dataclass(frozen=True)
class Decoding:
    """How answers are decoded."""

    max_new_tokens: Annotated[int, typer.Option(help="The longest answer, in tokens.", min=1)] = 128
    temperature: Annotated[float, typer.Option(help="0 is greedy: the same answer every time.")] = 0.0
    top_p: Annotated[float, typer.Option(help="With a temperature: sample from this much of the probability.")] = 1.0
    seed: Annotated[int | None, typer.Option(help="With a temperature: makes the answer repeatable.")] = None

    def config(self) -> GenerationConfig:
        """:raises ConfigError: a number is out of range."""
        return GenerationConfig(self.max_new_tokens, self.temperature, self.top_p, self.seed)
