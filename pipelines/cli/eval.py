"""``videox2l eval``: how good answers are."""

from __future__ import annotations

from collections.abc import Callable

import typer

from pipelines.cli.eval_benchmarks import COMMANDS
from pipelines.cli.eval_compressors import compressors
from pipelines.cli.eval_suite import suite

eval_ = typer.Typer(name="eval", help="Measure how good answers are.", no_args_is_help=True)

_COMMANDS: dict[str, Callable[..., None]] = {
    "suite": suite,
    "compressors": compressors,
    **{command.__name__: command for command in COMMANDS},
}
for _name, _command in _COMMANDS.items():
    eval_.command(_name)(_command)
