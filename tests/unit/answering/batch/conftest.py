from __future__ import annotations

from pathlib import Path

import pytest

from videox2l.models import load_model
from videox2l.models.video_xl.model import VideoXL


@pytest.fixture(scope="package")
def packed_model(random_checkpoint: Path) -> VideoXL:
    """A random model of these tests' own: packed attention stays switched on."""
    return load_model(str(random_checkpoint), device="cpu")
