from __future__ import annotations

import time

import pytest
import torch

from videox2l.models.laps import Laps

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")),
]


@pytest.mark.parametrize("device", DEVICES)
def test_time_is_booked_on_the_part_that_ends(device: str) -> None:
    laps = Laps(torch.device(device))
    began = time.perf_counter()
    for _ in range(3):
        laps.begin()
        torch.randn(200, 200, device=device).mm(torch.randn(200, 200, device=device))
        laps.end("vision")
        laps.end("low")
    seconds = laps.seconds()

    assert set(seconds) == {"vision", "low"}
    assert seconds["vision"] > 0
    assert seconds["low"] >= 0
    assert sum(seconds.values()) <= time.perf_counter() - began


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_between_parts_is_nobodys(device: str) -> None:
    laps = Laps(torch.device(device))
    laps.begin()
    laps.end("low")
    time.sleep(0.05)
    laps.begin()
    laps.end("low")
    assert laps.seconds()["low"] < 0.05
