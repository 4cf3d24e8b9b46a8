"""``videox2l bench ingest``: where the time of an ingest goes."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli import options, output
from pipelines.cli.bench_figures import Figures
from pipelines.cli.option_groups import grouped


@grouped
def ingest(
    model: options.Model = "tiny",
    videos: Annotated[
        int, typer.Option(help="Clips to render; their lengths are 8, 16, 24 scenes in turn.", min=1)
    ] = 24,
    hours: Annotated[
        float | None, typer.Option(help="Instead: one clip of this many hours, to see what memory it takes.", min=0.1)
    ] = None,
    prefill_actors: Annotated[int, typer.Option(help="Copies of the model that prefill side by side.", min=1)] = 1,
    videos_per_actor: Annotated[
        int, typer.Option(help="Videos whose chunks each of them takes through the model together.", min=1)
    ] = 1,
    device: options.Device = None,
    dtype: options.Dtype = None,
    *,
    figures: Figures,
) -> None:
    """Ingest rendered clips on this machine and show where the time goes: by stage, and by prefill actor.

    The total is compared with the critical path, what must be done one after the other whatever the hardware: 1.00
    means that prefill never waited. The same work is then done without the pipeline, stage by stage, and the total
    compared with the least that takes on as many actors and processors: what is above 1.00 is lost to the pipeline, to
    idle processors, and to stages that slow each other down. Peak memory is that of all processes
    together.

    `videox2l bench ingest`

    `videox2l bench ingest --hours 2`

    `videox2l bench ingest --save new.json --compare old.json`
    """
    from pipelines.bench.ingest.rows import report
    from pipelines.bench.ingest.run import bench_ingest
    from pipelines.bench.ingest.tables import tables
    from pipelines.ingest import IngestSettings

    before = figures.before()
    settings = IngestSettings(
        model=model, device=device, dtype=dtype, prefill_actors=prefill_actors, videos_per_actor=videos_per_actor
    )
    with output.notes().status("rendering clips") as status:
        found = bench_ingest(settings, videos=videos, hours=hours, progress=status.update)
    figures.conclude(report(found), before, tables(found))
