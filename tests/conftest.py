"""Shared by all tests: one random checkpoint of Video-XL's layout, and the model loaded from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints import write_random_checkpoint
from videox2l.models import KVCompressibleModel, load_model


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("checkpoint") / "random-video-xl")


@pytest.fixture(scope="session")
def random_model(random_checkpoint: Path) -> KVCompressibleModel:
    return load_model(str(random_checkpoint), device="cpu")
