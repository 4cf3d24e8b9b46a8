"""``videox2l bench``: measurements that anyone can repeat."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli import options
from pipelines.cli.bench_batch import batch
from pipelines.cli.bench_bounds import all_, decode, first_token, mix, passes, selection, store
from pipelines.cli.bench_ingest import ingest
from pipelines.cli.bench_prefill import prefill
from pipelines.cli.bench_serve import serve
from pipelines.cli.bench_storage import local, storage

bench = typer.Typer(name="bench", help="Measure parts of the system on this machine.", no_args_is_help=True)


@bench.callback()
def root() -> None:
    """Measure parts of the system on this machine."""


@bench.command()
def codecs(
    model: options.Model = "tiny",
    clips: Annotated[int, typer.Option(help="Clips to render; their lengths are 8, 16, 24 scenes in turn.", min=1)] = 3,
    seed: Annotated[int, typer.Option(help="Picks other clips and questions.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
    device: options.Device = None,
    dtype: options.Dtype = None,
) -> None:
    """Compare the codecs for stored KVs: bytes, speed, and what becomes of the answers.

    Renders clips whose answers are known, prefills them once, and asks the same questions over the KVs that each codec
    gives back. The questions are of the bundled model's world: other models answer them poorly, but sizes, speeds and
    changes of logits hold for them too. The device is the model's: codecs always work on one thread of the CPU.

    `videox2l bench codecs --clips 6 --json`
    """
    from pipelines.bench.codecs import bench_codecs
    from pipelines.bench.tables import tables
    from videox2l.models import load_model

    notes = Console(stderr=True, highlight=False)
    with notes.status("loading the model") as status:
        loaded = load_model(model, device=device, dtype=dtype)
        report = bench_codecs(loaded, clips=clips, seed=seed, progress=status.update)
    if as_json:
        typer.echo(json.dumps(report.to_dict(), indent=1))
        return
    console = Console(highlight=False)
    for table in tables(report):
        console.print(table)
        console.print()


bench.command(name="all")(all_)
for part in (passes, mix, first_token, decode, store, selection):
    bench.command()(part)
bench.command()(storage)
bench.command()(local)
bench.command()(prefill)
bench.command()(ingest)
bench.command()(serve)
bench.command()(batch)
