from __future__ import annotations

import subprocess
import sys
import time

import pytest

from pipelines.bench.rows.process_memory import MemorySampler

HELD = 64 * 2**20
HOLD = f"import sys; held = b'x' * {HELD}; print('held', flush=True); sys.stdin.read()"


def test_processes_below_this_one_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.bench.rows.process_memory._EVERY_S", 0.01)
    command = [sys.executable, "-c", HOLD]
    with (
        MemorySampler() as memory,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        until = time.monotonic() + 60
        while memory.peak_by_kind.get("ray", 0) < HELD and time.monotonic() < until:
            time.sleep(0.01)
        assert process.stdin is not None
        process.stdin.close()

    # A child that is not one of Ray's workers counts as Ray's own.
    assert memory.peak_by_kind["ray"] >= HELD
    assert memory.peak >= memory.peak_by_kind["ray"]
    assert memory.peak_by_kind["driver"] > 0
