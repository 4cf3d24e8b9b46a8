"""``videox2l batch``: a table of questions, answered on Ray."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli import options, output, status
from pipelines.cli.option_groups import grouped
from pipelines.cli.question_options import Choice, Decoding


@grouped
def batch(
    questions: Annotated[
        str | None, typer.Argument(help="Table of questions (.parquet, .csv, .jsonl), a path or URL; or --questions.")
    ] = None,
    answers: Annotated[str | None, typer.Argument(help="Where the answers go, in one of the same formats.")] = None,
    archive: options.Archive = options.DEFAULT_ARCHIVE,
    questions_file: Annotated[
        str | None,
        typer.Option(
            "--questions", help="With --videos: a table without videos, asked of each of them.", metavar="FILE"
        ),
    ] = None,
    videos: Annotated[
        list[str] | None,
        typer.Option(
            help="With --questions: of which videos, by a name glob or `key=value` of metadata. Several must all fit.",
            metavar="FILTER",
        ),
    ] = None,
    model: options.Model = "tiny",
    choice: Choice = Choice(),
    decoding: Decoding = Decoding(),
    actors: Annotated[int, typer.Option(help="Copies of the model that answer side by side.", min=1)] = 1,
    cpus_per_actor: Annotated[float, typer.Option(help="CPUs of each of them.")] = 1.0,
    slots: Annotated[int, typer.Option(help="Answers that each of them decodes together.", min=1)] = 32,
    low_memory: Annotated[
        float, typer.Option(help="Low KVs that each keeps in memory for further questions.", metavar="GIB", min=0)
    ] = 1.0,
    mixed_memory: Annotated[
        float, typer.Option(help="Mixed KVs that each keeps, likewise.", metavar="GIB", min=0)
    ] = 1.0,
    device: options.Device = None,
    dtype: options.Dtype = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace answers of another job.")] = False,
    progress_every: Annotated[
        float, typer.Option(help="Outside a terminal: seconds between two lines of progress.", metavar="SECONDS")
    ] = 30.0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no summary.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show how much would be asked and read.")] = False,
    storage_options: options.StorageOptions = None,
) -> None:
    """Answer a table of questions, with evidence and cost.

    Columns: `video` (id, name or name glob) and `question`; optionally `from`, `to`, `select`, `top_k`, `max_tokens`,
    `index_id`. All others are carried along. Questions of a video are answered together. A question that fails is a
    row with its reason. After an interruption the same command goes on where it stopped.

    Exit status: 0 all answered, 1 some failed, 2 wrong usage or settings, 3 the job could not go on, 130 interrupted.

    `videox2l batch questions.parquet answers.parquet --archive s3://bucket/lectures`

    `videox2l batch answers.parquet --questions checklist.csv --videos "cam-*.mp4" --videos floor=3`
    """
    from pipelines.batch import BatchSettings
    from pipelines.batch import batch as run_batch
    from pipelines.batch.progress import BatchProgress

    with status.job():
        source, target = _files(questions, answers, questions_file, videos)
        settings = BatchSettings(
            model,
            device,
            dtype,
            choice.config(),
            decoding.config(),
            actors,
            cpus_per_actor,
            slots=slots,
            low_memory_bytes=round(low_memory * 2**30),
            mixed_bytes=round(mixed_memory * 2**30),
        )
        with BatchProgress(style="none" if quiet or dry_run else "auto", every_s=progress_every) as show:
            summary = run_batch(
                source,
                target,
                options.absolute(archive),
                settings,
                videos=videos,
                storage_options=storage_options,
                dry_run=dry_run,
                overwrite=overwrite,
                on_progress=show,
            )
    if not quiet:
        output.console().print(summary)
    if not summary.ok:
        raise typer.Exit(status.SOME_FAILED)


def _files(
    questions: str | None, answers: str | None, questions_file: str | None, videos: list[str] | None
) -> tuple[str, str]:
    """The tables to read and to write.

    :raises ConfigError: they are not given in one of the two ways.
    """
    from videox2l.errors import ConfigError

    if (questions_file is None) != (not videos):
        raise ConfigError("--questions and --videos go together: questions, and the videos to ask each of")
    given = [name for name in (questions_file, questions, answers) if name is not None]
    if len(given) != 2:
        raise ConfigError(
            "give a table of questions and where the answers go: `videox2l batch questions.parquet answers.parquet`, "
            "or `videox2l batch answers.parquet --questions FILE --videos FILTER`"
        )
    return given[0], given[1]
