"""``videox2l train-tiny``: train the bundled checkpoint again, from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def train_tiny(
    out: Annotated[Path, typer.Option(help="Folder for the finished checkpoint.")] = Path("runs/tiny/checkpoint"),
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
) -> None:
    """Train the bundled tiny model on synthetic clips and write its model card.

    Without options it makes the bundled checkpoint again, from nothing. Ctrl-C is safe: the same command goes on where
    it stopped.

    `videox2l train-tiny --out my-tiny`  then  `videox2l ask clip.mp4 "…" --model my-tiny`
    """
    import torch
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from videox2l.training.run import SMOKE, STEPS, Setting
    from videox2l.training.run import train_tiny as train

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
                steps=steps or STEPS,
                seed=seed,
                setting=SMOKE if smoke else Setting(),
                report=lambda line: console.print(line, markup=False),
                progress=lambda used: bar.update(task, completed=used),
            )
    except KeyboardInterrupt:
        console.print(f"stopped; the same command goes on from {work}")
        raise
    console.print(f"checkpoint and model card are in {out}")
