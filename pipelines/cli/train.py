"""``videox2l train``: teach VSTs to a model, in one process or on the workers of a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli import options, output
from pipelines.cli.train_tiny import train_tiny


def ratios(text: str) -> tuple[int, ...]:
    """``2,4,8`` as numbers; raises :class:`ConfigError` otherwise."""
    from videox2l.errors import ConfigError

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"--ratios must be numbers with commas between them, such as 2,4,8,16; got {text!r}"
        ) from None


def train(
    data: Annotated[
        str | None,
        typer.Argument(help="A .jsonl or .parquet list with the columns `video`, `question` and `answer`."),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="Where settings begin: `vst`, `vst-and-language`, or `tiny` (the bundled model, from nothing)."
        ),
    ] = "vst",
    model: options.Model = "tiny",
    out: Annotated[Path | None, typer.Option(help="Folder for the finished checkpoint. Default: in --work.")] = None,
    work: Annotated[
        str | None,
        typer.Option(help="Folder or fsspec URL for saved states; a second run goes on there. Default: runs/PRESET."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps to make.", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Examples a step, over all workers.", min=1)] = None,
    trained: Annotated[str | None, typer.Option(help="`vst`, or `all`: the language model too.")] = None,
    start: Annotated[
        str | None, typer.Option(help="VSTs begin as the checkpoint's (`keep`) or as copies of q, k and v (`copy`).")
    ] = None,
    ratios_: Annotated[
        str | None, typer.Option("--ratios", help="Compressions that chunks are trained at, such as 2,4,8,16.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the VSTs, at its highest.")] = None,
    language_learning_rate: Annotated[float | None, typer.Option(help="Of the language model, with `all`.")] = None,
    warmup_steps: Annotated[int | None, typer.Option(help="Steps before the learning rate is at its highest.")] = None,
    questions: Annotated[int | None, typer.Option(help="Questions that share one forward of a video.", min=1)] = None,
    fps: Annotated[float | None, typer.Option(help="Frames looked at per second of video.")] = None,
    max_frames: Annotated[int | None, typer.Option(help="Never more frames of a video than this.", min=1)] = None,
    frames_per_chunk: Annotated[int | None, typer.Option(help="Frames in a chunk. Default: the model's.")] = None,
    seed: Annotated[int | None, typer.Option(help="Everything random follows from it.")] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out videos that do not decode.")] = False,
    workers: Annotated[
        int, typer.Option(help="0: in this process. More: on so many Ray workers, with DeepSpeed ZeRO.", min=0)
    ] = 0,
    gpu: Annotated[bool, typer.Option("--gpu", help="A GPU for each worker, or for this process.")] = False,
    deepspeed: Annotated[
        Path | None, typer.Option(help="DeepSpeed's settings as JSON (needs --workers). Default: ZeRO stage 2.")
    ] = None,
    save_every: Annotated[int, typer.Option(help="Steps between saved states.", min=1)] = 100,
    threads: Annotated[int, typer.Option(help="CPU threads of this process (without --workers).", min=1)] = 1,
    storage_options: options.StorageOptions = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="With the preset `tiny`: run through everything, learning nothing.")
    ] = False,
    dry_run: options.DryRun = False,
) -> None:
    """Teach Visual Summarization Tokens (VSTs) to a model, so that its videos can be compressed.

    Every chunk of a video is compressed at a ratio drawn from --ratios; the model then has to answer from what its VSTs
    kept. Only they learn, unless told otherwise. The result is a checkpoint folder for `--model`.

    Ctrl-C ends the current step and saves; the same command goes on there, also after a crash.

    `videox2l train questions.jsonl --model my-model --dry-run`  what it will need

    `videox2l train questions.jsonl --model my-model --out my-model-vst`

    `videox2l train s3://bucket/questions.parquet --model my-model --work s3://bucket/run --workers 8 --gpu`

    `videox2l train --preset tiny`  makes the bundled model again, as `train-tiny` does
    """
    import torch

    from pipelines.train.command import TrainRun
    from pipelines.train.deepspeed_config import read_deepspeed
    from videox2l.errors import ConfigError
    from videox2l.training.vst.settings import TinyPreset, with_changes
    from videox2l.training.vst.task import VSTJob

    given: dict[str, Any] = {
        "steps": steps,
        "batch": batch,
        "trained": trained,
        "start": start,
        "ratios": None if ratios_ is None else ratios(ratios_),
        "learning_rate": learning_rate,
        "language_learning_rate": language_learning_rate,
        "warmup_steps": warmup_steps,
        "questions": questions,
        "fps": fps,
        "max_frames": max_frames,
        "frames_per_chunk": frames_per_chunk,
        "seed": seed,
        "broken_videos": "skip" if skip_broken else None,
    }
    settings = with_changes(preset, given)
    work = work or f"runs/{preset}"
    if isinstance(settings, TinyPreset):
        if data is not None or workers or dry_run:
            raise ConfigError(
                "the preset tiny makes its own data and is trained in one process, so that it repeats bit for bit: "
                "leave out the list, --workers and --dry-run"
            )
        train_tiny(out or Path(work) / "checkpoint", Path(work), settings.steps, settings.seed, threads, smoke)
        return
    if data is None:
        raise ConfigError("give a list of questions and answers about videos; docs/training.md says how to write one")
    if deepspeed is not None and not workers:
        raise ConfigError("--deepspeed needs --workers: one process has nothing to share out")
    if smoke:
        raise ConfigError("--smoke is for the preset tiny; elsewhere give few --steps")
    if out is None and "://" in work:
        raise ConfigError("with a --work URL say where the checkpoint goes: --out FOLDER")
    job = VSTJob(options.absolute(model) if Path(model).is_dir() else model, options.absolute(data), settings)
    run = TrainRun(
        job=job,
        work=options.absolute(work),
        out=(out or Path(work) / "checkpoint").absolute(),
        workers=workers,
        gpu=gpu,
        deepspeed=read_deepspeed(deepspeed),
        save_every=save_every,
        storage_options=storage_options,
    )
    torch.set_num_threads(threads)
    if dry_run:
        run.show_needs(output.console())
        return
    run.start(output.notes())
