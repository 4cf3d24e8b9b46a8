from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.store.samples import random_chunks, write_index
from videox2l.store import Archive

OTHER_SAMPLING = {"sampling": {"fps": 2.0, "frames": None}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive of three indexes of two videos."""
    archive = Archive.open(tmp_path / "archive", create=True)
    write_index(archive, random_chunks(12), "long.mp4")
    write_index(archive, random_chunks(3), "short.mp4")
    write_index(archive, random_chunks(5), "short.mp4", **OTHER_SAMPLING)
    return tmp_path / "archive"
