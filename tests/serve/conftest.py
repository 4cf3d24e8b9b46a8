from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.serve import running_service
from tests.archives import random_index
from tests.checkpoints import write_random_checkpoint
from tests.ray_cluster import ray_cluster
from tests.serve.client import Client
from tests.unit.answering.by_hand import LOSSES, recorded
from videox2l.models import KVCompressibleModel, load_model
from videox2l.store import Archive

__all__ = ["ray_cluster"]

MODEL = "tiny-random"
CAMERA_START = "2026-11-21T08:00:00+01:00"

# Few enough that a test can fill them, enough for the tests that ask eight questions at once.
CONCURRENCY, MAX_ONGOING, MAX_QUEUED = 2, 4, 8


@pytest.fixture(scope="session")
def archive(random_model: KVCompressibleModel, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Four videos of the served model, one with a known start and one without low KVs, and one of another model."""
    folder = tmp_path_factory.mktemp("serve")
    archive = Archive.open(folder / "archive", create=True)
    random_index(archive, random_model, "kitchen.mp4", chunks=5, seed=1)
    random_index(archive, random_model, "a garden.mp4", chunks=3, seed=2)
    recorded(archive, random_index(archive, random_model, "camera.mp4", chunks=3, seed=5), CAMERA_START)
    LOSSES["removed by retention"][0](archive, random_index(archive, random_model, "old.mp4", seed=4).manifest)
    other = load_model(str(write_random_checkpoint(folder / "other", seed=7)), device="cpu")
    random_index(archive, other, "foreign.mp4", chunks=2, seed=3)
    return archive


@pytest.fixture(scope="package")
def service(ray_cluster: None, archive: Archive, random_checkpoint: Path) -> Iterator[str]:
    """The address of a service of ``archive``."""
    settings = {"concurrency": CONCURRENCY, "max_ongoing_requests": MAX_ONGOING, "max_queued_requests": MAX_QUEUED}
    with running_service(archive.url, str(random_checkpoint), model_name=MODEL, **settings) as url:
        yield url


@pytest.fixture(scope="package")
def client(service: str) -> Client:
    return Client(service, MODEL)
