"""The demo as a newcomer runs it: a process of its own, real Ray, real HTTP, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(600)  # starting Ray and Serve takes minutes on a machine that does much else
def test_the_whole_path(tmp_path: Path) -> None:
    picture, folder = tmp_path / "demo.svg", tmp_path / "kept"
    command = [sys.executable, "-m", "pipelines.cli", "demo", "--scenes", "4,3", "--questions", "2"]
    command += ["--picture", str(picture), "--folder", str(folder)]
    environment = {**os.environ, "VIDEOX2L_DEMO_TEST": str(tmp_path)}  # inherited by every process it starts
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for heading in ("ingest on Ray Data", "ask through Ray Serve", "low for the selected chunks", "in detail:"):
        assert heading in done.stdout
    assert done.stdout.count("right") + done.stdout.count("wrong") >= 4
    assert "<svg" in picture.read_text()
    assert len(list((folder / "archive").glob("videos/*/*/manifest.json"))) == 2
    assert not left_over(str(tmp_path))


def left_over(mark: str) -> list[str]:
    """Command lines of running processes whose environment holds ``mark``."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if mark.encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_text())
            except OSError:
                continue
    return found
