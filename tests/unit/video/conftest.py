from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.video.clips import CASES, ClipCase


@pytest.fixture(scope="session")
def clip_path(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Writes a case's file once a session and returns its path."""
    folder = tmp_path_factory.mktemp("clips")
    by_name = {case.name: case for case in CASES}
    written: dict[str, Path] = {}

    def path_of(name: str) -> Path:
        if name not in written:
            written[name] = by_name[name].write(folder)
        return written[name]

    return path_of


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> ClipCase:
    return request.param


@pytest.fixture
def clip(case: ClipCase, clip_path: Callable[[str], Path]) -> Path:
    return clip_path(case.name)
