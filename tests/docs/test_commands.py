"""Every command that the documentation or a help text shows is one: it has these arguments and options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.exceptions import Exit, TyperException

from pipelines.cli.main import app
from tests.docs.pages import PAGES, ROOT, blocks, commands, spans

PROGRAM: Any = typer.main.get_command(app)

# Words that stand for others: `videox2l COMMAND --help`, `videox2l bench …`.
_ANY = ("COMMAND", "…", "...")

# Would write into the home folder of whoever runs the tests.
_COMPLETION = ("--install-completion", "--show-completion")

# Parsing ends with these where a sentence names a command without its arguments.
_INCOMPLETE = ("MissingParameter", "NoArgsIsHelpError")

# Options of other programs, in sentences that name those.
OTHERS = {"--log_samples", "--build-arg"}


def parse(words: list[str]) -> None:
    """Parse as the command line does, without running anything.

    :raises TyperException: there is no such command, argument or option, or a value is impossible.
    """
    command, context = PROGRAM, None
    words = [word for word in words if word not in (*_COMPLETION, "--debug")]
    words = [word for before, word in zip(["", *words], words, strict=False) if word not in _ANY or before[:1] == "-"]
    while hasattr(command, "commands"):
        if not words:
            return
        context = command.make_context(command.name, words, parent=context)
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
    command.make_context(name, words, parent=context)


def check(place: str, words: list[str]) -> None:
    try:
        parse(words)
    except Exit:  # --help, --version
        return
    except TyperException as error:
        raise AssertionError(f"{place} shows `videox2l {' '.join(words)}`: {error}") from error


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks(page):
        if block.language in ("", "sh", "console"):
            for words in commands(block.text):
                check(block.place, words)
    for span in spans(page):
        for words in commands(span.text):
            mentioned(span.place, words)


def mentioned(place: str, words: list[str]) -> None:
    """A command within a sentence, such as `videox2l keys list`, may leave out its arguments; its options count."""
    try:
        check(place, words)
    except AssertionError as error:
        if type(error.__cause__).__name__ not in _INCOMPLETE:
            raise


def test_there_are_commands() -> None:
    shown = [words for page in PAGES for block in blocks(page) for words in commands(block.text)]
    assert len(shown) > 60
    assert {words[0] for words in shown if words} >= {
        "ingest",
        "ask",
        "batch",
        "serve",
        "keys",
        "bench",
        "eval",
        "train",
    }


def test_a_command_that_is_none_is_found() -> None:
    for text in (
        "$ videox2l ingets a.mp4",
        "A=1 .venv/bin/videox2l ask v.mp4 --top-q 2",
        'cat x | videox2l ls --json "y"',
        "videox2l bench serve \\\n --repeat 3",
    ):
        ((words),) = commands(text)
        with pytest.raises(AssertionError, match="shows `videox2l"):
            check("here", words)


def every(command: Any, name: str = "videox2l") -> Iterator[tuple[str, Any]]:
    yield name, command
    for part, below in getattr(command, "commands", {}).items():
        yield from every(below, f"{name} {part}")


def test_examples_of_help_texts(capsys: pytest.CaptureFixture[str]) -> None:
    shown = 0
    for name, command in every(PROGRAM):
        for text in re.findall(r"`([^`]+)`", command.help or ""):
            for words in commands(" ".join(text.split())):
                mentioned(f"the help of {name}", words)
                shown += 1
    assert shown > 20


def test_options_that_are_mentioned_exist() -> None:
    options = {"--help", "--debug"}
    for _, command in every(PROGRAM):
        for parameter in command.params:
            options.update(parameter.opts, parameter.secondary_opts)
    unknown = {
        f"{span.place} {option}"
        for page in PAGES
        for span in spans(page)
        for option in re.findall(r"(?<!\S)--[a-z][\w-]*", span.text)
        if span.text.startswith(("-", "videox2l")) and option not in options | OTHERS
    }
    assert unknown == set()
