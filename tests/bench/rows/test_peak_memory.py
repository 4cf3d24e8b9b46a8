"""Peaks of this process and of another one."""

from __future__ import annotations

import subprocess
import sys

import torch

from pipelines.bench.rows.peak_memory import peak_bytes, process_peak_bytes, reset_peak, reset_process_peak

HELD = 64 * 2**20
# Holds so much for a moment, and says so; then waits.
HOLD = f"import sys\nheld = bytearray({HELD})\nheld[::4096] = bytes(len(held[::4096]))\ndel held\nprint(flush=True)\n"
HOLD += "sys.stdin.read()"


def test_the_peak_of_another_process_stays_until_it_is_reset() -> None:
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        before = process_peak_bytes(process.pid)
        reset_process_peak(process.pid)
        after = process_peak_bytes(process.pid)
        process.stdin.close()
    assert before is not None
    assert after is not None
    assert before >= HELD
    assert after <= before - HELD // 2


def test_the_peak_of_this_process_on_the_host() -> None:
    cpu = torch.device("cpu")
    reset_peak(cpu)
    before = peak_bytes(cpu)
    held = torch.ones(HELD, dtype=torch.uint8)
    peak = peak_bytes(cpu)
    assert before is not None
    assert peak is not None
    assert peak >= before + held.nbytes // 2


def test_a_process_that_is_gone_has_no_peak() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    reset_process_peak(process.pid)
    assert process_peak_bytes(process.pid) is None
