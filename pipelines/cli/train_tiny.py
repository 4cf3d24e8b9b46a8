"""``videox2l train-tiny``: train the bundled checkpoint again, from nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console


def train_tiny(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the finished checkpoint. Default: runs/tiny/checkpoint, or runs/tiny-plain/…"),
    ] = None,
    work: Annotated[Path, typer.Option(help="Rendered frames and state; a second run goes on from here.")] = Path(
        "runs/tiny"
    ),
    steps: Annotated[
        int | None, typer.Option(help="Steps of the language model. Default: as many as the bundled one had.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    threads: Annotated[
        int, typer.Option(help="CPU threads. More are faster; results repeat bit for bit with as many only.", min=1)
    ] = 1,
    smoke: Annotated[bool, typer.Option("--smoke", help="Run through everything quickly, learning nothing.")] = False,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Its plain sibling instead: a stock model that starts from the bundled one."),
    ] = False,
) -> None:
    """Train the bundled tiny model on synthetic clips and write its model card.

    Without options it makes the bundled checkpoint again, from nothing. Ctrl-C is safe: the same command goes on where
    it stopped. `--plain` makes the bundled `tiny-plain` in the same way, from the bundled `tiny`.

    `videox2l train-tiny --out my-tiny`  then  `videox2l ask clip.mp4 "…" --model my-tiny`
    """
    import torch
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from videox2l.training import plain as sibling
    from videox2l.training import run

    out = out or Path("runs") / ("tiny-plain" if plain else "tiny") / "checkpoint"
    train: Callable[..., Any] = partial(
        run.train_tiny, steps=steps or run.STEPS, setting=run.SMOKE if smoke else run.Setting()
    )
    if plain:
        setting = sibling.PLAIN_SMOKE if smoke else sibling.PlainSetting()
        train = partial(sibling.train_plain, steps=steps or sibling.PLAIN_STEPS, setting=setting)
    torch.set_num_threads(threads)
    console = Console(highlight=False)
    bar = Progress(
        TextColumn("language model"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), console=console
    )
    task = bar.add_task("", total=1.0)
    try:
        with bar:
            train(
                out,
                work=work,
                seed=seed,
                report=lambda line: console.print(line, markup=False),
                progress=lambda used: bar.update(task, completed=used),
            )
    except KeyboardInterrupt:
        console.print(f"stopped; the same command goes on from {work}")
        raise
    console.print(f"checkpoint and model card are in {out}")
