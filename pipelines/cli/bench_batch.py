"""``videox2l bench batch``: what answering questions together gains."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli import options, output
from pipelines.cli.bench_figures import Figures
from pipelines.cli.option_groups import grouped


@grouped
def batch(
    model: options.Model = "tiny",
    videos: Annotated[int, typer.Option(help="Videos of random KVs.", min=1)] = 4,
    questions: Annotated[int, typer.Option(help="Questions about each.", min=1)] = 96,
    max_new_tokens: Annotated[int, typer.Option(help="The longest answer, in tokens.", min=1)] = 64,
    slots: Annotated[int, typer.Option(help="Answers that are decoded together.", min=1)] = 32,
    actors: Annotated[int, typer.Option(help="Processes of the batch, each on one thread.", min=1)] = 1,
    repeats: Annotated[int, typer.Option(help="How often both are measured, in turn.", min=1)] = 3,
    *,
    figures: Figures,
) -> None:
    """Compare `videox2l batch` with asking the same questions one by one, on one CPU thread a process.

    `videox2l bench batch --videos 8`

    `videox2l bench batch --save new.json --compare old.json`
    """
    from pipelines.bench.batch import bench_batch, report, table

    before = figures.before()
    with output.notes().status("preparing") as status:
        found = bench_batch(
            model,
            videos=videos,
            questions=questions,
            max_new_tokens=max_new_tokens,
            slots=slots,
            actors=actors,
            repeats=repeats,
            progress=status.update,
        )
    figures.conclude(report(found), before, [table(found)])
