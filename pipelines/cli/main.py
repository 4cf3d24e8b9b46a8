"""Entry point of the ``videox2l`` command: the list of commands, and what becomes of errors."""

from __future__ import annotations

import gc as garbage
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

import typer

from pipelines.cli import output, status
from pipelines.cli.ask import ask
from pipelines.cli.batch import batch
from pipelines.cli.bench import bench
from pipelines.cli.calibrate import calibrate
from pipelines.cli.demo import demo
from pipelines.cli.doctor import doctor
from pipelines.cli.eval import eval_
from pipelines.cli.ingest import ingest
from pipelines.cli.keys import keys
from pipelines.cli.ls import du, ls
from pipelines.cli.plan import plan
from pipelines.cli.repair import repair
from pipelines.cli.report import report
from pipelines.cli.rm import gc, retain, rm
from pipelines.cli.serve import serve
from pipelines.cli.show import show
from pipelines.cli.train import train
from pipelines.cli.train_tiny import train_tiny
from pipelines.cli.transfer import export, import_
from pipelines.cli.verify import catalog, verify
from videox2l.errors import VideoX2LError

_DEVELOPMENT = "Development"

# Importing torch and transformers makes a million objects that stay. Looking for garbage among them as often as Python
# does by default, after 700 new ones, takes 0.6 of the 4 seconds in which a question is answered in a fresh process.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000

app = typer.Typer(
    name="videox2l",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: dict[str | None, tuple[Callable[..., None], ...]] = {
    None: (ingest, report, ask, batch, serve, calibrate, plan, demo, doctor),
    "Keeping an archive": (ls, show, rm, gc, du, retain, verify, repair, export, import_, catalog),
    _DEVELOPMENT: (train, train_tiny),
}
for panel, commands in _COMMANDS.items():
    for command in commands:
        app.command(command.__name__.strip("_").replace("_", "-"), rich_help_panel=panel)(command)
app.add_typer(keys, name="keys")
app.add_typer(eval_, name="eval", rich_help_panel=_DEVELOPMENT)
app.add_typer(bench, rich_help_panel=_DEVELOPMENT)


@app.callback()
def root(
    version_: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Ask many questions of very long videos, cheaply.

    A video is **ingested** once: its KV cache is kept in an archive at two levels of compression per chunk. Every
    **question** then re-loads the detailed level for the few chunks that matter and uses the gist for the rest.

    `videox2l ingest lecture.mp4 --archive archive`  then  `videox2l ask lecture.mp4 "What is shown?" --archive archive`

    Any command takes `--debug` to show where an error came from.
    """
    if version_:
        typer.echo(version("videox2l"))
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run a command. Exit statuses are those of :mod:`pipelines.cli.status`."""
    garbage.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    if debug:
        arguments.remove("--debug")
    try:
        app(arguments, prog_name="videox2l")
    except VideoX2LError as error:
        if debug:
            raise
        _complain(error)
        sys.exit(status.SOME_FAILED)
    except status.JobEndedError as ended:
        _report(ended, debug=debug)
        sys.exit(ended.status)


def _report(ended: status.JobEndedError, *, debug: bool) -> None:
    if ended.status == status.INTERRUPTED:
        output.notes().print(f"interrupted. {status.GO_ON}", soft_wrap=True)
        return
    if debug or not ended.known:
        traceback.print_exception(ended.error)
    _complain(ended.error)
    if ended.status == status.STOPPED:
        output.notes().print(status.GO_ON, soft_wrap=True)


def _complain(error: BaseException) -> None:
    text = str(error) or type(error).__name__
    output.notes().print(f"[bold red]error:[/] {output.plain(text)}", soft_wrap=True)
