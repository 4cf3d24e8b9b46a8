"""Storage that refuses answers: the job ends in its own words, keeps what is stored, and goes on from there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.batch import BatchSettings, batch
from tests.archives import random_index
from tests.batch.conftest import NAMES
from tests.s3.faults import Fault, FaultProxy, Request, healthy
from videox2l import Archive, GenerationConfig
from videox2l.errors import ArchiveNotWritableError
from videox2l.models import KVCompressibleModel

pytestmark = pytest.mark.usefixtures("ray_cluster")

QUESTIONS = pa.table({"video": NAMES * 30, "question": [f"{number}: what?" for number in range(90)]})


def settings(checkpoint: str) -> BatchSettings:
    return BatchSettings(checkpoint, device="cpu", generation=GenerationConfig(4), slots=1, part_rows=5)


def test_a_folder_that_takes_no_more(tmp_path: Path, archive: Archive, checkpoint: str) -> None:
    out, parts, kept = tmp_path / "a.parquet", tmp_path / "a.parquet.parts", tmp_path / "kept"

    def obstruct(total: int, earlier: int, done: int, failed: int) -> None:
        if done and not kept.exists():
            parts.rename(kept)
            parts.write_text("in the way")  # a folder without rights would not stop a test that runs as root

    with pytest.raises(ArchiveNotWritableError, match=r"cannot write a\.parquet\.parts/.*may write there\.$"):
        batch(QUESTIONS, out, archive.url, settings(checkpoint), on_progress=obstruct)
    assert not out.exists()
    parts.unlink()
    stored = sum(pq.read_table(part).num_rows for part in kept.rglob("*.parquet"))
    shutil.move(kept, parts)
    summary = batch(QUESTIONS, out, archive.url, settings(checkpoint))
    assert (summary.ok, summary.earlier) == (True, stored)
    assert not parts.exists()


def test_object_storage_that_refuses(
    s3_server: str, s3_bucket: str, checkpoint: str, random_model: KVCompressibleModel
) -> None:
    with FaultProxy(s3_server) as proxy:
        access = {"endpoint_url": proxy.url, "key": "test", "secret": "test"}
        archive = Archive.open(f"{s3_bucket}/archive", create=True, storage_options=access)
        for name in NAMES:
            random_index(archive, random_model, name)
        out, passed = f"{s3_bucket}/a.parquet", 0

        def refuse(request: Request) -> Fault | None:
            """After the trial and two parts, as where a key's rights end or a quota is used up."""
            nonlocal passed
            if request.method != "PUT" or "a.parquet" not in request.path:
                return None
            passed += 1
            return None if passed <= 3 else Fault("status", 403)

        proxy.plan = refuse
        with pytest.raises(ArchiveNotWritableError, match=r"cannot write a\.parquet\.parts/.*may write there\.$"):
            batch(QUESTIONS, out, archive.url, settings(checkpoint), storage_options=access)
        asked = proxy.count("GET", "/archive/videos/")
        assert asked > 0

        # It is known before anything is read of the videos that nothing can be stored.
        with pytest.raises(ArchiveNotWritableError, match="may write there"):
            batch(QUESTIONS, out, archive.url, settings(checkpoint), storage_options=access)
        assert proxy.count("GET", "/archive/videos/") == asked

        proxy.plan = healthy
        summary = batch(QUESTIONS, out, archive.url, settings(checkpoint), storage_options=access)
        assert summary.ok
        assert 10 <= summary.earlier < 90  # two parts, of five answers or what came at once
