"""``videox2l ingest``: videos into an archive, on Ray Data."""

# ruff: noqa: ARG001 -- most options are settings, which are taken from the context together with those of a file

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import options, output, status
from pipelines.cli.option_groups import grouped
from pipelines.cli.prefill_options import Compression, Sampling


class ProgressStyle(Enum):
    """How progress is shown, on standard error."""

    auto = "auto"
    bars = "bars"
    lines = "lines"
    json = "json"
    none = "none"


@grouped
def ingest(
    context: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(help="Video files, folders, globs, or a list (.txt, .csv, .jsonl, .parquet) of them."),
    ] = None,
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    model: options.Model = "tiny",
    sampling: Sampling = Sampling(),
    compression: Compression = Compression(),
    prefill_actors: Annotated[int, typer.Option(help="Copies of the model that prefill side by side.", min=1)] = 1,
    videos_per_actor: Annotated[
        int,
        typer.Option(
            help="Videos whose chunks each of them takes through the model together. Faster with small chunks; KVs "
            "then differ by rounding from run to run.",
            min=1,
        ),
    ] = 1,
    memory_per_actor: Annotated[
        float | None,
        typer.Option(
            help="Device memory that each of them may take. Default: what is free there, in equal shares.",
            metavar="GIB",
        ),
    ] = None,
    tensor_parallel: options.TensorParallel = 1,
    device: options.Device = None,
    dtype: options.Dtype = None,
    ledger: Annotated[str | None, typer.Option(help="Also write one JSON line a video to this local file.")] = None,
    low_codec: Annotated[
        str | None, typer.Option(help="How low KVs are stored: `raw`, `squeeze`, `int8`, `int4`.")
    ] = None,
    high_codec: Annotated[str | None, typer.Option(help="How high KVs are stored, likewise.")] = None,
    append: Annotated[
        bool,
        typer.Option("--append", help="Continue recordings that have grown; their past is not prefilled again."),
    ] = False,
    append_to: Annotated[
        str | None, typer.Option(help="With one video: the video of the archive that it continues.", metavar="VIDEO")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Ingest again, in place of what this model made of the video before.")
    ] = False,
    recorded_at: Annotated[
        str | None,
        typer.Option(help="With one video: when it begins, such as 2026-05-01T09:00:00+02:00.", metavar="ISO8601"),
    ] = None,
    retry_quarantined: Annotated[
        bool, typer.Option("--retry-quarantined", help="Try videos again that failed by their own fault before.")
    ] = False,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails/--no-thumbnails", help="Keep a small picture of each chunk, or none.")
    ] = True,
    retriever: Annotated[
        str | None,
        typer.Option(
            help="Also keep what this makes of each chunk, for `--select retriever`: a checkpoint folder or hub id of "
            "a CLIP or SigLIP, or `own` for the model's own embeddings."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Settings in a YAML file, under the names that --print-config shows. Options win."),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings in effect as YAML for --config, and do nothing.")
    ] = False,
    progress: Annotated[
        ProgressStyle,
        typer.Option(help="`bars` in a terminal, `lines` elsewhere, `json` lines for programs, or `none`."),
    ] = ProgressStyle.auto,
    progress_every: Annotated[
        float, typer.Option(help="Seconds between two lines that say how far the job is.", metavar="SECONDS")
    ] = 30.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but failures.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done and how large it gets.")] = False,
    price_per_gb_month: Annotated[
        float, typer.Option(help="With --dry-run: what storage costs, in dollars. Default: S3 Standard.", min=0)
    ] = 0.023,
    price_per_device_hour: Annotated[
        float | None,
        typer.Option(help="With --dry-run: price of a prefill actor's device. Default: 2.50 a GPU, 0.05 a CPU.", min=0),
    ] = None,
    storage_options: options.StorageOptions = None,
) -> None:
    """Prefill videos and keep their KVs at two levels in an archive.

    Videos that are in the archive with the same settings are skipped. A broken file is reported and the others go on.
    After an interruption the same command goes on where it stopped.

    Exit status: 0 all done, 1 some videos failed, 2 wrong usage or settings (nothing was done), 3 the job could not
    go on (run it again), 130 interrupted (likewise).

    `videox2l ingest lectures/ --archive s3://bucket/lectures --prefill-actors 4`

    `videox2l ingest "cam-*.mp4" --fps 0.5 --dry-run`

    `videox2l ingest --config nightly.yaml --prefill-actors 8`

    `videox2l ingest lectures/ --model large/ --tensor-parallel 4`

    `videox2l ingest camera.ts --append --recorded-at 2026-05-01T09:00:00+02:00`
    """
    from pipelines.cli.settings import effective
    from pipelines.ingest import ingest as run_ingest
    from pipelines.ingest.estimate import Prices
    from pipelines.ingest.progress import IngestProgress
    from pipelines.ingest.yaml_settings import write_settings

    with status.job():
        job = effective(context, config)
        if print_config:
            typer.echo(write_settings(job.settings, job.sources, job.archive), nl=False)
            return
        with IngestProgress(style="none" if quiet else progress.value, every_s=job.settings.progress_every_s) as show:
            summary = run_ingest(
                job.sources,
                job.archive,
                job.settings,
                ledger=ledger,
                dry_run=dry_run,
                prices=Prices(price_per_gb_month, price_per_device_hour),
                storage_options=storage_options,
                on_progress=show,
            )
    if not quiet:
        output.console().print(summary)
    if summary.ledger and not quiet and progress is not ProgressStyle.json:
        report = f"report: {summary.ledger.removesuffix('.jsonl')}.html"
        output.notes().print(report, style="dim", soft_wrap=True, markup=False)
    if not summary.ok:
        raise typer.Exit(status.SOME_FAILED)
