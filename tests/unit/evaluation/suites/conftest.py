"""The bundled model and scenes filmed once for all tests."""

import pytest

from videox2l.evaluation.suites.footage import film
from videox2l.models import load_model


@pytest.fixture(scope="session")
def model():
    return load_model("tiny")


@pytest.fixture(scope="session")
def footage(model):
    return film(model, scenes=64, reels=1)
