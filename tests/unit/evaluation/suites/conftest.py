"""The bundled model and scenes filmed once for all tests."""

import pytest

from videox2l.evaluation.suites.footage import film
from videox2l.models import load_model

LONGEST = 64


@pytest.fixture(scope="session")
def model():
    return load_model("tiny")


@pytest.fixture(scope="session")
def footage(model):
    return film(model, scenes=LONGEST, reels=1)
