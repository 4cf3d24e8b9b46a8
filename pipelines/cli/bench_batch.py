"""``videox2l bench batch``: what answering questions together gains."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli import options


def batch(
    model: options.Model = "tiny",
    videos: Annotated[int, typer.Option(help="Videos of random KVs.", min=1)] = 4,
    questions: Annotated[int, typer.Option(help="Questions about each.", min=1)] = 96,
    max_new_tokens: Annotated[int, typer.Option(help="The longest answer, in tokens.", min=1)] = 64,
    slots: Annotated[int, typer.Option(help="Answers that are decoded together.", min=1)] = 32,
    actors: Annotated[int, typer.Option(help="Processes of the batch, each on one thread.", min=1)] = 1,
    repeats: Annotated[int, typer.Option(help="How often both are measured, in turn.", min=1)] = 3,
    as_json: options.Json = False,
) -> None:
    """Compare `videox2l batch` with asking the same questions one by one, on one CPU thread a process.

    `videox2l bench batch --videos 8`
    """
    from pipelines.bench.batch import batch_table, bench_batch

    notes = Console(stderr=True, highlight=False)
    with notes.status("preparing") as status:
        report = bench_batch(
            model,
            videos=videos,
            questions=questions,
            max_new_tokens=max_new_tokens,
            slots=slots,
            actors=actors,
            repeats=repeats,
            progress=status.update,
        )
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=1))
        return
    Console(highlight=False).print(batch_table(report))
