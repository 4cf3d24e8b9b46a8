"""Processes of a local Ray cluster, found by what Ray calls them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any

# A process gets its title a moment after it has begun to work.
_APPEARS_S = 3.0

PREFILL, DECODE = "PrefillStage", "ray::decode"


def workers(title: str, raylets: set[int]) -> dict[int, int]:
    """Worker processes with ``title`` in their name, and the raylet of each, one of ``raylets``."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()[1:]]
    return {int(pid): int(parent) for pid, parent, args in rows if title in args and int(parent) in raylets}


def kill(title: str, raylets: set[int]) -> list[int]:
    """SIGKILL, as the kernel does when memory runs out. Returns which; waits a little until there is one."""
    deadline = time.monotonic() + _APPEARS_S
    while not (found := list(workers(title, raylets))) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return found


def raylet(node: Any) -> int:
    """The process id of the raylet of a node of ``ray.cluster_utils.Cluster``."""
    return int(node.all_processes["raylet"][0].process.pid)
