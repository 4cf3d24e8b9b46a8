"""``videox2l`` commands in files that nobody runs before they are needed: do they parse?"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import typer.main
from typer.core import TyperGroup

from pipelines.cli.main import app

# What ends a command in a shell.
_ENDS = {"|", "||", "&&", ";", "&", ">"}


def videox2l_commands(line: str) -> Iterator[list[str]]:
    """The arguments of each ``videox2l`` command in a line of shell, also of those in quotes behind other commands."""
    tokens = shlex.split(line, comments=True)
    for number, token in enumerate(tokens):
        before = tokens[number - 1] if number else ";"
        if token == "videox2l" and (before in _ENDS or re.match(r"\w+=", before)):
            rest = tokens[number + 1 :]
            yield rest[: next((end for end, other in enumerate(rest) if other in _ENDS), len(rest))]
        elif "videox2l " in token:
            yield from videox2l_commands(token)


def parse(arguments: list[str]) -> dict[str, Any]:
    """What the command line makes of ``arguments``, without running them. Raises what it says to a user's mistake."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    with root.make_context("videox2l", list(arguments)) as context:
        name, command, rest = root.resolve_command(context, arguments)
        assert command is not None, f"no command {arguments[0]}"
        return dict(command.make_context(name, rest, parent=context).params)


def environment_variables(command: str) -> set[str]:
    """The variables that ``videox2l command`` takes options from."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    variables: set[str] = set()
    for parameter in root.commands[command].params:
        found = parameter.envvar or ()
        variables |= {found} if isinstance(found, str) else set(found)
    return variables
