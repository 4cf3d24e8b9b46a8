from __future__ import annotations

from pathlib import Path

import pytest

from tests.archives import random_index
from tests.ray_cluster import ray_cluster
from tests.s3.server import s3_bucket, s3_server
from videox2l import Archive
from videox2l.models import KVCompressibleModel

__all__ = ["ray_cluster", "s3_bucket", "s3_server"]

NAMES = ("cam-1.mp4", "cam-2.mp4", "lecture.mp4")


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, random_model: KVCompressibleModel) -> Archive:
    """Three videos of five chunks, of 10 s each."""
    made = Archive.open(tmp_path_factory.mktemp("batch") / "archive", create=True)
    for seed, name in enumerate(NAMES):
        random_index(made, random_model, name, seed=seed)
    return made


@pytest.fixture(scope="session")
def checkpoint(random_checkpoint: Path) -> str:
    return str(random_checkpoint)
