"""``videox2l bench serve``: how fast questions are answered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import output
from pipelines.cli.bench_figures import Figures
from pipelines.cli.option_groups import grouped


@grouped
def serve(
    videos: Annotated[int, typer.Option(help="Videos of the archive that is asked about at random.", min=1)] = 100,
    minutes: Annotated[float, typer.Option(help="Length of each.", min=0.1)] = 2.0,
    questions: Annotated[int, typer.Option(help="Questions about them.", min=1)] = 500,
    seconds: Annotated[float | None, typer.Option(help="Ask them for so long at most.", min=1)] = None,
    repeats: Annotated[int, typer.Option(help="How often everything else is measured.", min=1)] = 5,
    histogram: Annotated[
        Path | None, typer.Option(help="Write how long the questions took into this SVG.", dir_okay=False)
    ] = None,
    flame: Annotated[
        Path | None, typer.Option(help="Write a flame graph of one request into this SVG (py-spy).", dir_okay=False)
    ] = None,
    *,
    figures: Figures,
) -> None:
    """Measure answers: the first token, many askers, what HTTP adds, and an archive larger than the caches.

    With the bundled model and a larger one of random weights, about videos of random KVs, on one core a replica.
    Ratios are of measurements taken in turn.

    `videox2l bench serve`

    `videox2l bench serve --save new.json --compare old.json`

    `videox2l bench serve --videos 2000 --questions 100000 --seconds 600 --histogram latency.svg`
    """
    from pipelines.bench.serving import bench_serving, tables
    from pipelines.bench.serving.report import histogram as draw
    from pipelines.bench.serving.rows import report

    before = figures.before()
    with output.notes().status("preparing") as status:
        found = bench_serving(
            videos=videos,
            minutes=minutes,
            questions=questions,
            seconds=seconds,
            repeats=repeats,
            flame=flame,
            progress=status.update,
        )
    if histogram is not None:
        title = f"{found.zipf.questions} questions about {found.zipf.videos} videos, whole answers"
        histogram.write_text(draw(found.zipf.latencies_ms, title))
    figures.conclude(report(found), before, tables(found))
