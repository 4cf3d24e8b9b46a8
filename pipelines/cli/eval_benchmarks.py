"""``videox2l eval videomme`` and its like: public benchmarks, as they are distributed."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TimeElapsedColumn

from pipelines.cli import options, output, status
from pipelines.cli.option_groups import grouped
from pipelines.cli.prefill_options import Compression, Sampling
from pipelines.cli.question_options import Choice
from videox2l.paths import expanded

if TYPE_CHECKING:
    from pipelines.evaluate.job import Plan
    from pipelines.evaluate.settings import BenchmarkSettings
    from videox2l.evaluation.benchmarks.summary import Summary

# Problems of a kind that are named in the terminal; the report has more.
_NAMED = 3


def _benchmark_command(name: str, help_: str, example: str) -> Callable[..., None]:
    """The command of one benchmark; all take the same options."""

    @grouped
    def command(
        data: Annotated[Path, typer.Option(help="The folder that the benchmark was downloaded into.")],
        archive: options.Archive = options.DEFAULT_ARCHIVE,
        model: options.Model = "tiny",
        choice: Choice = Choice(),
        without: Annotated[
            list[str] | None,
            typer.Option(help="Leave out a control: `full KV`, `low only`, `high only`, `random`.", metavar="CONTROL"),
        ] = None,
        scoring: Annotated[
            str, typer.Option(help="`generate`: the letter in the answer. `likelihood`: the likeliest letter.")
        ] = "generate",
        max_new_tokens: Annotated[
            int | None, typer.Option(help="Longest answer. Default: the benchmark's.", min=1)
        ] = None,
        split: Annotated[str | None, typer.Option(help="Which part of the benchmark, where it has several.")] = None,
        subtitles: Annotated[
            bool, typer.Option("--subtitles", help="Put subtitles into the question, where the benchmark has that.")
        ] = False,
        limit: Annotated[int | None, typer.Option(help="Only so many videos, from the first.", min=1)] = None,
        out: Annotated[
            Path | None, typer.Option(help="Folder of the results. Default: eval/BENCHMARK.", metavar="DIR")
        ] = None,
        sampling: Sampling = Sampling(),
        compression: Compression = Compression(),
        actors: Annotated[int, typer.Option(help="Copies of the model that work side by side.", min=1)] = 1,
        device: options.Device = None,
        dtype: options.Dtype = None,
        storage_options: options.StorageOptions = None,
        dry_run: options.DryRun = False,
        as_json: options.Json = False,
    ) -> None:
        from pipelines.evaluate.job import plan_benchmark
        from pipelines.evaluate.settings import BenchmarkSettings
        from pipelines.ingest import IngestSettings
        from videox2l.errors import ConfigError
        from videox2l.evaluation.benchmarks.records import CONTROLS, Asking

        with status.job():
            unknown = [control for control in without or () if control not in CONTROLS]
            if unknown:
                raise ConfigError(f"no control {unknown[0]!r} to leave out: there are {', '.join(CONTROLS)}")
            settings = BenchmarkSettings(
                name,
                expanded(data).absolute(),
                IngestSettings(
                    model=model,
                    device=device,
                    dtype=dtype,
                    sampling=sampling.config(),
                    compression=compression.config(model),
                    prefill_actors=actors,
                ),
                Asking(
                    choice.config(),
                    tuple(control for control in CONTROLS if control not in (without or ())),
                    scoring,  # type: ignore[arg-type]
                    max_new_tokens,
                ),
                split,
                subtitles,
                limit,
            )
            if dry_run:
                _show_plan(plan_benchmark(settings), as_json=as_json)
                return
            folder = out or Path("eval") / name
            summary = _run(settings, options.absolute(archive), folder, storage_options)
        _show(summary, folder, as_json=as_json)
        if any(problem.kind in ("not_ingested", "not_asked") for problem in summary.problems):
            raise typer.Exit(status.SOME_FAILED)

    command.__name__ = name
    command.__doc__ = f"""{help_}

    Asks every question with the chosen selection and, as controls on the same model, over the full KV cache, over low
    KVs only, over high KVs only, and with as many chunks chosen at random. Videos that the archive lacks are ingested
    first. After an interruption the same command goes on where it stopped.

    Exit status: 0 done, 1 some videos could not be ingested or asked about, 2 wrong usage, settings or folder, 3 the
    job could not go on, 130 interrupted.

    `{example}`
    """
    return command


COMMANDS = tuple(
    _benchmark_command(name, f"Run {title}.", f"videox2l eval {name} --data {folder} --archive kvs --select attention")
    for name, title, folder in (
        ("videomme", "Video-MME", "Video-MME"),
        ("mlvu", "MLVU's multiple-choice tasks", "MLVU"),
        ("longvideobench", "LongVideoBench", "LongVideoBench"),
        ("vnbench", "VNBench", "VNBench"),
    )
)


def _run(settings: BenchmarkSettings, archive: str, folder: Path, storage_options: dict[str, object] | None) -> Summary:
    from pipelines.evaluate.job import run_benchmark
    from pipelines.ingest import IngestProgress

    notes = output.notes()
    columns = [*Progress.get_default_columns(), TimeElapsedColumn()]
    bar = Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal)
    asking = bar.add_task("asking, by video", total=None, start=False, visible=False)

    with ExitStack() as showing:
        ingesting = showing.enter_context(IngestProgress(notes))

        def on_video(done: int, total: int) -> None:
            if not bar.live.is_started:
                showing.close()  # the ingest is over
                bar.start()
                bar.start_task(asking)
            bar.update(asking, completed=done, total=total, visible=True)
            if not notes.is_terminal:
                notes.print(f"asked about {done} of {total} videos")

        try:
            return run_benchmark(
                settings, archive, folder, storage_options=storage_options, on_ingest=ingesting, on_video=on_video
            )
        finally:
            bar.stop()


def _show_plan(plan: Plan, *, as_json: bool) -> None:
    from collections import Counter

    lost: Counter[str] = Counter()
    for problem in plan.problems:
        lost[problem.kind] += problem.questions
    if as_json:
        problems = [vars(problem) for problem in plan.problems]
        document = {"videos": len(plan.items), "questions": plan.questions, "lost": lost, "problems": problems}
        output.print_json(document)
        return
    console = output.console()
    videos, questions = output.many(len(plan.items), "video"), output.many(plan.questions, "question")
    console.print(f"{plan.benchmark.title}: {questions} about {videos} would be asked")
    for kind, count in lost.items():
        console.print(f"{kind.replace('_', ' ')}: {output.many(count, 'question')}")
        for problem in [problem for problem in plan.problems if problem.kind == kind][:_NAMED]:
            console.print(f"  {problem.where}: {problem.why}", markup=False, soft_wrap=True)


def _show(summary: Summary, folder: Path, *, as_json: bool) -> None:
    from videox2l.evaluation.benchmarks.markdown import percent

    if as_json:
        typer.echo(json.dumps(summary.to_dict(), indent=1, ensure_ascii=False))
        return
    console = output.console()
    title = f"{summary.about['title']}, {output.many(summary.questions, 'question')}"
    table = output.table("condition", "accuracy >", "gain >", "failed >", "no letter >", "memory tokens >", title=title)
    for condition in summary.conditions:
        tokens = "–" if condition.memory_tokens is None else f"{condition.memory_tokens:.0f}"
        gain = "" if condition.condition == "selected" else percent(condition.gain, signed=True)
        numbers = str(condition.failed), str(condition.no_letter), tokens
        table.add_row(condition.condition, percent(condition.score), gain, *numbers)
    console.print(table)
    for kind, count in summary.lost.items():
        console.print(f"not measured, {kind.replace('_', ' ')}: {output.many(count, 'question')}")
    output.notes().print(f"report: {folder / 'report.md'}", style="dim", soft_wrap=True, markup=False)
