from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkpoints import write_random_checkpoint
from tests.unit.parallel.processes import RankProcesses
from videox2l.models import load_model
from videox2l.models.video_xl.model import VideoXL


@pytest.fixture(scope="session")
def two_ranks() -> Iterator[RankProcesses]:
    processes = RankProcesses(2)
    yield processes
    processes.close()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two query heads a KV head and an MLP that does not fall into equal parts."""
    folder = tmp_path_factory.mktemp("checkpoint") / "video-xl"
    return write_random_checkpoint(folder, layers=3, num_attention_heads=8, num_key_value_heads=4, intermediate_size=51)


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> VideoXL:
    """The same on one device."""
    loaded = load_model(str(checkpoint), device="cpu")
    assert isinstance(loaded, VideoXL)
    return loaded
