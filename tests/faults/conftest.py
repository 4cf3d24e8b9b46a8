from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faults.job import COMPRESSION, SAMPLING
from tests.unit.video.clips import regular, write_numbered_clip
from videox2l.models import KVCompressibleModel
from videox2l.prefill import ingest_video
from videox2l.store import Archive

X264 = {"preset": "ultrafast", "g": "12", "threads": "1"}

CLIPS = {"long": 235, "other": 205, "short": 45, "aborts": 85, "hangs": 75, "deadly": 35}
"""Frames, 10 to a chunk, so that each has an odd half of one at its end."""

LONGEST_S = 900
"""Seconds for all scenarios together: five times what they take on a quiet machine with two slow cores."""


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, random_checkpoint: Path) -> Iterator[Path]:
    """Where the scenarios have taken place: see :mod:`tests.faults.scenarios`."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "checkpoint").symlink_to(random_checkpoint)
    (folder / "clips").mkdir()
    for name, frames in CLIPS.items():
        # Another number of frames makes another content.
        write_numbered_clip(folder / "clips" / f"{name}.mp4", pts=regular(frames), options=X264)
    disk = folder / "disk"
    disk.mkdir()
    # Room for the KVs of both videos, several times over, but soon filled.
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0  # takes the rights of root
    try:
        with (folder / "log").open("w") as log:
            command = [sys.executable, "-m", "tests.faults.scenarios", str(folder)]
            skip = [] if mounted else ["full"]
            subprocess.run([*command, *skip], stdout=log, stderr=log, timeout=LONGEST_S, check=False)
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", disk], check=True)


@pytest.fixture(scope="session")
def undisturbed(stage: Path, random_model: KVCompressibleModel) -> Archive:
    """The same videos, ingested in one go by this process."""
    archive, threads = Archive.open(stage / "undisturbed", create=True), torch.get_num_threads()
    torch.set_num_threads(1)  # as many as a prefill worker has: sums depend on how they are split
    try:
        for name in CLIPS:
            clip = stage / "clips" / f"{name}.mp4"
            ingest_video(random_model, archive, clip, sampling=SAMPLING, compression=COMPRESSION)
    finally:
        torch.set_num_threads(threads)
    return archive


def outcome(stage: Path, scenario: str) -> dict[str, Any]:
    """What a scenario has told."""
    path = stage / f"{scenario}.json"
    if scenario == "full" and not (stage / "disk").is_mount():
        pytest.skip("a disk of its own can only be mounted by root")
    assert path.exists(), (stage / "log").read_text()[-3000:]
    found: dict[str, Any] = json.loads(path.read_text())
    assert "broke" not in found, found["broke"]
    return found
