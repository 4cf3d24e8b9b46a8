from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.s3.server import s3_bucket, s3_server
from videox2l.store import Archive

__all__ = ["s3_bucket", "s3_server"]


@pytest.fixture(params=["local", "memory"])
def archive_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address where an archive can be made: a folder, or a storage without files of its own.

    Tests of what may differ on S3, which is slow, ask for it with ``samples.every_storage``.
    """
    if request.param == "local":
        return str(tmp_path / "archive")
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return f"{request.getfixturevalue('s3_bucket')}/some/archive"


@pytest.fixture
def archive(archive_url: str) -> Archive:
    return Archive.open(archive_url, create=True)


@pytest.fixture
def local_archive(tmp_path: Path) -> Archive:
    return Archive.open(tmp_path / "archive", create=True)
