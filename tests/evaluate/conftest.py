from __future__ import annotations

from pathlib import Path

import pytest

from tests.ray_cluster import ray_cluster
from tests.unit.video.clips import regular, write_numbered_clip

__all__ = ["ray_cluster"]


@pytest.fixture(scope="session")
def benchmark_clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Clips of three, four and two seconds at 10 frames a second, and one that is no video."""
    folder = tmp_path_factory.mktemp("benchmark-clips")
    paths = [folder / f"{frames}.mp4" for frames in (30, 40, 20)]
    for path, frames in zip(paths, (30, 40, 20), strict=True):
        write_numbered_clip(path, pts=regular(frames), options={"preset": "ultrafast", "threads": "1"})
    broken = folder / "broken.mp4"
    broken.write_bytes(b"not a video" * 100)
    return [*paths, broken]
