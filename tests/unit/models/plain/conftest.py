"""One random checkpoint of each family, and the model loaded from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plain_checkpoints import FAMILIES, SETTINGS, write_plain_checkpoint
from videox2l.models import load_model
from videox2l.models.plain.model import PlainModel


@pytest.fixture(scope="session")
def plain_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("plain")
    return {family: write_plain_checkpoint(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="session", params=FAMILIES)
def family_model(request: pytest.FixtureRequest, plain_checkpoints: dict[str, Path]) -> PlainModel:
    return plain(plain_checkpoints[request.param], SETTINGS.get(request.param, ""))


@pytest.fixture(scope="session")
def plain_model(plain_checkpoints: dict[str, Path]) -> PlainModel:
    return plain(plain_checkpoints["llava_onevision"])


def plain(folder: Path, settings: str = "") -> PlainModel:
    model = load_model(str(folder) + settings, device="cpu")
    assert isinstance(model, PlainModel)
    return model
