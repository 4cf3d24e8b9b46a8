"""Ways to do the same work, in turn."""

from __future__ import annotations

import torch

from pipelines.bench.rows.timing import Seconds, in_turn


def test_ways_are_run_in_turn_and_prepared_untimed() -> None:
    said: list[str] = []

    def way(name: str, seconds: float):  # type: ignore[no-untyped-def]
        def prepare():  # type: ignore[no-untyped-def]
            said.append(f"prepare {name}")
            return lambda: said.append(name) or Seconds(seconds)  # type: ignore[func-returns-value]

        return prepare

    times = in_turn([way("own", 3.0), way("bound", 2.0)], torch.device("cpu"), repeats=3)
    assert said[-4:] == ["prepare own", "own", "prepare bound", "bound"]
    assert times.seconds == ((3.0,) * 3, (2.0,) * 3)
    assert (times.median(), times.ratio()) == (3.0, 1.5)
