from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.serve import ServiceConfig, running_service
from pipelines.serve.keys import change_keys, new_key
from tests.archives import calibrated, random_index
from tests.checkpoints import write_random_checkpoint
from tests.ray_cluster import ray_cluster
from tests.serve.client import Client
from tests.unit.answering.by_hand import LOSSES, recorded
from videox2l.models import KVCompressibleModel, load_model
from videox2l.store import Archive
from videox2l.store.calibration import store

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
    kitchen = random_index(archive, random_model, "kitchen.mp4", chunks=5, seed=1).manifest
    archive.describe(kitchen.video, kitchen.index_fp, metadata={"camera": "north", "floor": 3, "night": False})
    garden = random_index(archive, random_model, "a garden.mp4", chunks=3, seed=2).manifest
    archive.describe(garden.video, garden.index_fp, metadata={"camera": "south"})
    recorded(archive, random_index(archive, random_model, "camera.mp4", chunks=3, seed=5), CAMERA_START)
    LOSSES["removed by retention"][0](archive, random_index(archive, random_model, "old.mp4", seed=4).manifest)
    other = load_model(str(write_random_checkpoint(folder / "other", seed=7)), device="cpu")
    random_index(archive, other, "foreign.mp4", chunks=2, seed=3)
    store(archive.storage, calibrated(kitchen, "attention"))
    return archive


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that videos may be ingested from."""
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="session")
def admin_key(key_file: Path, sources: Path) -> str:
    """The key of somebody who may do everything."""
    return make_key(key_file, "admin", ingest_from=(str(sources),), delete=True, metrics=True)


def make_key(file: Path, name: str, **rights: Any) -> str:
    text, key = new_key(name, **rights)
    change_keys(file, lambda keys: [*(other for other in keys if other.name != name), key])
    return text


@pytest.fixture(scope="session")
def service_config(
    archive: Archive, random_checkpoint: Path, key_file: Path, admin_key: str, sources: Path
) -> ServiceConfig:
    return ServiceConfig(
        archive_url=archive.url,
        model=str(random_checkpoint),
        model_name=MODEL,
        concurrency=CONCURRENCY,
        max_ongoing_requests=MAX_ONGOING,
        max_queued_requests=MAX_QUEUED,
        api_keys=str(key_file),
        ingest_from=(str(sources),),
        play_from=(str(sources),),
        ingest_device="cpu",
        allow_origin=("https://app.example",),
    )


@pytest.fixture(scope="package")
def service(ray_cluster: None, service_config: ServiceConfig) -> Iterator[str]:
    """The address of a service of ``archive``."""
    with running_service(**service_config.model_dump(exclude_defaults=True)) as url:
        yield url


@pytest.fixture(scope="package")
def client(service: str, admin_key: str) -> Client:
    return Client(service, MODEL, admin_key)
