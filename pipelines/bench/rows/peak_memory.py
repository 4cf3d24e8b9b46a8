"""The most memory that was held on a device, or by a process, since a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

Process = int | Literal["self"]
"""A process's id, or this one."""

_PROCESSES = Path("/proc")


def reset_peak(device: torch.device) -> None:
    """Begin anew. What a process holds on the host can be reset on Linux only; elsewhere nothing is measured."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        reset_process_peak()


def peak_bytes(device: torch.device) -> int | None:
    """A GPU: what PyTorch had allocated there. Otherwise: resident memory of the process; ``None`` if unknown."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else process_peak_bytes()


def reset_process_peak(process: Process = "self") -> None:
    """Begin anew with a process of this user."""
    place = _PROCESSES / str(process) / "clear_refs"
    if place.exists():
        place.write_text("5")  # resets VmHWM, see proc_pid_clear_refs(5)


def process_peak_bytes(process: Process = "self") -> int | None:
    """The most resident memory of a process; ``None`` where the system does not tell."""
    place = _PROCESSES / str(process) / "status"
    if not place.exists():
        return None
    lines = dict(line.split(":", 1) for line in place.read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024
