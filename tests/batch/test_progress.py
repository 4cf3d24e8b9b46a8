"""What an operator sees of a batch while it runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from pipelines.batch.progress import BatchProgress, Style


class Time:
    """A clock that tests set, in place of the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr("pipelines.batch.progress.time", made)
    return made


def show(
    clock: Time, counts: list[tuple[int, int]], *, style: Style = "auto", every_s: float = 0, earlier: int = 0
) -> str:
    """What is shown of 100 questions of which so many are (done, failed), a second apart."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=style == "bar", width=100)
    with BatchProgress(console, style, every_s) as progress:
        for done, failed in counts:
            progress(100, earlier, done, failed)
            clock.now += 1
    return stream.getvalue()


def test_lines_say_pace_and_time_left(clock: Time) -> None:
    assert show(clock, [(0, 0), (10, 0), (20, 0), (40, 1), (100, 1)]).splitlines() == [
        "0/100 questions, starting",
        "10/100 questions, starting",  # the pace counts from here: what came before was the start of Ray and the model
        "20/100 questions, 20 a second, about 0:04 left",
        "40/100 questions, 20 a second, about 0:03 left, 1 failed",
        "100/100 questions, 33.3 a second, 1 failed",
    ]


def test_all_at_once_have_no_pace(clock: Time) -> None:
    assert show(clock, [(0, 0), (100, 3)]).splitlines() == ["0/100 questions, starting", "100/100 questions, 3 failed"]


def test_answers_of_an_earlier_run_are_no_pace(clock: Time) -> None:
    lines = show(clock, [(0, 0), (10, 0), (10, 0), (20, 0)], earlier=50).splitlines()
    assert lines[0] == "50/100 questions, starting"
    assert lines[2] == "60/100 questions, 10 a second, about 0:04 left"
    assert lines[3] == "70/100 questions, 10 a second, about 0:03 left"


def test_lines_come_every_so_often_and_once_at_the_end(clock: Time) -> None:
    counts = [(done, 0) for done in range(0, 100, 10)] + [(100, 0), (100, 0)]
    lines = show(clock, counts, every_s=4).splitlines()
    assert [line.split("/")[0] for line in lines] == ["0", "40", "80", "100"]


def test_a_bar_in_a_terminal_and_nothing_if_nothing_is_wanted(clock: Time) -> None:
    assert "100/100" in show(clock, [(50, 0), (100, 2)], style="bar")
    assert "2 failed" in show(clock, [(50, 0), (100, 2)], style="bar")
    assert show(clock, [(50, 0), (100, 0)], style="none") == ""
