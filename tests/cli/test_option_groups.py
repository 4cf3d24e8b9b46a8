"""Options that are declared once and taken by several commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli.bench import bench
from pipelines.cli.option_groups import grouped


@dataclass(frozen=True)
class Where:
    folder: Annotated[str, typer.Option(help="Where to look.", envvar="WHERE")] = "here"
    deep: Annotated[bool, typer.Option("--deep")] = False


@grouped
def look(name: str, where: Where, times: Annotated[int, typer.Option(min=1)] = 1) -> None:
    """Look for something."""
    typer.echo(f"{name} {where} {times}")


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(look)
    return app


def test_the_command_gets_the_group(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["it", "--folder", "there", "--deep", "--times", "2"], catch_exceptions=False)
    assert done.stdout == "it Where(folder='there', deep=True) 2\n"
    assert CliRunner().invoke(app, ["it"], env={"WHERE": "env"}).stdout == "it Where(folder='env', deep=False) 1\n"


def test_help_shows_the_group_in_its_place(app: typer.Typer) -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    assert "Look for something." in shown
    assert "Where to look." in shown
    assert shown.index("--folder") < shown.index("--deep") < shown.index("--times")


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("mix", "--folder"),
        ("mix", "--plot"),
        ("selection", "--folder"),
        ("store", "--device"),
        ("passes", "--repeats"),
        ("first-token", "--plot"),
        ("decode", "--ray"),
    ],
)
def test_parts_refuse_options_that_mean_nothing_to_them(command: str, option: str) -> None:
    done = CliRunner().invoke(bench, [command, option, "1"])
    assert done.exit_code == 2
    assert option.lstrip("-") in done.output
