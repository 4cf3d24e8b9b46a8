"""``python -m videox2l.training``: train the tiny checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from videox2l.training.run import SMOKE, Setting, train_tiny


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m videox2l.training", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished checkpoint")
    parser.add_argument("--work", type=Path, default=Path("runs/tiny"), help="frame bank and state, to resume from")
    parser.add_argument("--minutes", type=float, help="time for the language model (default 75)")
    parser.add_argument("--steps", type=int, help="instead of minutes: a number of steps, which repeats bit for bit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--smoke", action="store_true", help="run through everything in a minute, to see that it works")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bar = Progress(TextColumn("training"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    task = bar.add_task("language model", total=1.0)
    try:
        with bar:
            train_tiny(
                arguments.out,
                work=arguments.work,
                steps=arguments.steps,
                minutes=arguments.minutes,
                seed=arguments.seed,
                setting=SMOKE if arguments.smoke else Setting(),
                report=lambda line: bar.console.print(line, highlight=False),
                progress=lambda used: bar.update(task, completed=used),
            )
    except KeyboardInterrupt:
        bar.console.print(f"stopped; the same command goes on from {arguments.work}")


if __name__ == "__main__":
    main()
