"""``videox2l eval``: how good answers are."""

from __future__ import annotations

import typer

from pipelines.cli.eval_benchmarks import COMMANDS
from pipelines.cli.eval_suite import suite

eval_ = typer.Typer(name="eval", help="Measure how good answers are.", no_args_is_help=True)

for _command in (suite, *COMMANDS):
    eval_.command(_command.__name__)(_command)
