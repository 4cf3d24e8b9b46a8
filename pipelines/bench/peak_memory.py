"""The most memory that was held on a device, since a moment."""

from __future__ import annotations

from pathlib import Path

import torch

_PROCESS = Path("/proc/self")


def reset_peak(device: torch.device) -> None:
    """Begin anew. What a process holds on the host can be reset on Linux only; elsewhere nothing is measured."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _PROCESS.is_dir():
        (_PROCESS / "clear_refs").write_text("5")  # resets VmHWM, see proc_pid_clear_refs(5)


def peak_bytes(device: torch.device) -> int | None:
    """A GPU: what PyTorch had allocated there. Otherwise: resident memory of the process; ``None`` if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if not _PROCESS.is_dir():
        return None
    lines = dict(line.split(":", 1) for line in (_PROCESS / "status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024
