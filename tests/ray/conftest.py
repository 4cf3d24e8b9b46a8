from __future__ import annotations

from pathlib import Path

import pytest

from tests.ray_cluster import ray_cluster
from tests.s3.server import s3_bucket, s3_server
from tests.unit.video.clips import regular, write_numbered_clip

__all__ = ["ray_cluster", "s3_bucket", "s3_server"]

X264 = {"preset": "ultrafast", "g": "12", "threads": "1"}


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of 10 frames/s, named by their number of frames: 25 to 225."""
    folder = tmp_path_factory.mktemp("clips")
    for frames in (25, 65, 100, 130, 180, 225):
        write_numbered_clip(folder / f"{frames:03}.mp4", pts=regular(frames), options=X264)
    return folder
