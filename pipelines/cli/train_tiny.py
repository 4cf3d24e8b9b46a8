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
    minutes: Annotated[float | None, typer.Option(help="Time for the language model. Default: 75.", min=0.1)] = None,
    steps: Annotated[int | None, typer.Option(help="Instead: a number of steps, which repeats exactly.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 0,
    threads: Annotated[int | None, typer.Option(help="CPU threads. Default: all cores.", min=1)] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="Run through everything quickly, learning nothing.")] = False,
) -> None:
    """Train the bundled tiny model on synthetic clips and write its model card.

    Ctrl-C is safe: the same command goes on where it stopped.

    `videox2l train-tiny --minutes 75 --out my-tiny`  then  `videox2l ask clip.mp4 "…" --model my-tiny`
    """
    import torch

    from videox2l.training.run import SMOKE, Setting
    from videox2l.training.run import train_tiny as train

    if threads is not None:
        torch.set_num_threads(threads)
    console = Console(highlight=False)
    try:
        train(
            out,
            work=work,
            steps=steps,
            minutes=minutes,
            seed=seed,
            setting=SMOKE if smoke else Setting(),
            report=lambda line: console.print(line, markup=False),
        )
    except KeyboardInterrupt:
        console.print(f"stopped; the same command goes on from {work}")
        raise
    console.print(f"checkpoint and model card are in {out}")
