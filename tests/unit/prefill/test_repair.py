"""What verify finds, repair makes anew: bit for bit where it comes from a video."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.checkpoints import write_random_checkpoint
from tests.retriever_checkpoints import KINDS, write_retriever
from tests.unit.prefill.recordings import COMPRESSION, SAMPLING, content, record
from tests.unit.video.clips import regular
from videox2l.config import SamplingConfig
from videox2l.errors import ArchiveFormatError
from videox2l.models import KVCompressibleModel, load_model
from videox2l.models.retriever import OWN
from videox2l.prefill import Repair, append_video, ingest_video, repair
from videox2l.store import Archive, Manifest, layout
from videox2l.store.documents import seal
from videox2l.store.verify import verify

pytestmark = pytest.mark.usefixtures("in_process")

SETTINGS: dict[str, Any] = {"sampling": SAMPLING, "compression": COMPRESSION}

Damaging = Callable[[Path], None]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("clips") / "clip.ts", regular(35))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive.open(tmp_path / "archive", create=True)


def ingested(model: KVCompressibleModel, archive: Archive, clip: Path, **settings: Any) -> Manifest:
    _, manifest = ingest_video(model, archive, clip, **(SETTINGS | settings))
    assert manifest is not None
    return manifest


def flip(path: Path) -> None:
    """Another value in the middle of the file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def mend(archive: Archive, model: KVCompressibleModel, **options: Any) -> list[Repair]:
    return repair(archive, lambda _: model, verify(archive.storage).damaged, **options)


# What is damaged (a pattern below the archive), how, and what is done about it
DAMAGE: dict[str, tuple[str, Damaging, str]] = {
    "low": ("videos/*/*/attempts/*/low-00000.arrow", flip, "rebuilt"),
    "high": ("videos/*/*/attempts/*/high-00000.arrow", cut, "rebuilt"),
    "prompt": ("videos/*/*/attempts/*/prompt.arrow", Path.unlink, "rebuilt"),
    "thumbnails": ("videos/*/*/attempts/*/thumbnails-00000.arrow", cut, "rebuilt"),
    "manifest": ("videos/*/*/manifest.json", flip, "rebuilt"),
    "manifest cut": ("videos/*/*/manifest.json", cut, "rebuilt"),
    "catalog row": ("catalog/*.parquet", flip, "rewritten"),
    "model": ("models/*.json", flip, "rewritten"),
    "model gone": ("models/*.json", Path.unlink, "rewritten"),
    "archive": ("archive.json", cut, "rewritten"),
    "archive gone": ("archive.json", Path.unlink, "rewritten"),
    "everything of an index": ("videos/*/*/**/*.*", flip, "rebuilt"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_repair(random_model: KVCompressibleModel, archive: Archive, clip: Path, case: str) -> None:
    pattern, damage, action = DAMAGE[case]
    before = ingested(random_model, archive, clip, recorded_at="2026-05-01T09:00:00Z")
    sibling = ingested(random_model, archive, clip, sampling=SamplingConfig(fps=2))
    damaged = sorted(Path(archive.url).glob(pattern.replace("videos/*/*", f"videos/*/{before.index_fp}")))
    if pattern.startswith("catalog"):
        damaged = [path for path in damaged if before.index_fp in path.name]
    assert damaged
    for path in damaged:
        damage(path)
    assert not verify(archive.storage).ok

    [planned] = mend(archive, random_model, dry_run=True)
    assert not verify(archive.storage).ok
    [done] = mend(archive, random_model)
    assert done == planned
    assert (done.action, done.error) == (action, "")
    assert verify(archive.storage).ok
    after = Archive.open(archive.url).open_index(before.video.video_id, index_fp=before.index_fp).manifest
    assert content(after) == content(before)
    assert (after.video, after.spec, after.recorded_at) == (before.video, before.spec, before.recorded_at)
    assert archive.open_index(before.video.video_id, index_fp=sibling.index_fp).manifest == sibling
    assert {row.index_fp for video in archive.videos() for row in video.indexes} == {before.index_fp, sibling.index_fp}


def test_what_had_no_thumbnails_gets_none(random_model: KVCompressibleModel, archive: Archive, clip: Path) -> None:
    before = ingested(random_model, archive, clip, thumbnails=False)
    flip(Path(archive.url) / before.shard_path(0))
    mend(archive, random_model)
    assert content(archive.open_index(before.video.video_id).manifest) == content(before)


def test_notes_of_sources_go_and_ledgers_stay(random_model: KVCompressibleModel, archive: Archive, clip: Path) -> None:
    archive.storage.write(layout.source("/a.mp4"), b"{}")
    archive.storage.write("runs/one.jsonl", b"{}\n")
    model = layout.model("ab" * 16)
    archive.storage.write(model, b"{}")
    found = {result.paths[0]: result for result in mend(archive, random_model)}
    assert {path: result.action for path, result in found.items()} == {
        layout.source("/a.mp4"): "removed",
        "runs/one.jsonl": "left",
        model: "removed",
    }
    assert "backup" in found["runs/one.jsonl"].error
    assert [damage.path for damage in verify(archive.storage).damaged] == ["runs/one.jsonl"]


def test_a_recording_that_was_continued(
    random_model: KVCompressibleModel, archive: Archive, clip: Path, tmp_path: Path
) -> None:
    """Its id is not that of its content any more."""
    recording = tmp_path / "camera.ts"
    data = clip.read_bytes()
    for share in (0.5, 1):
        recording.write_bytes(data[: int(len(data) * share)])
        _, before = append_video(random_model, archive, recording, **SETTINGS)
    assert before is not None
    flip(Path(archive.url) / before.path)
    assert [result.action for result in mend(archive, random_model)] == ["rebuilt"]
    assert verify(archive.storage).ok
    assert content(archive.open_index(before.video.video_id).manifest) == content(before)


RETRIEVERS = ("own", *KINDS)


@pytest.mark.parametrize("pattern", ["vectors-00000.arrow", "low-00000.arrow", "manifest.json"])
@pytest.mark.parametrize("kind", RETRIEVERS)
def test_vectors_come_back(
    random_model: KVCompressibleModel, archive: Archive, clip: Path, tmp_path: Path, kind: str, pattern: str
) -> None:
    retriever = kind if kind == OWN else str(write_retriever(tmp_path / "retriever", kind))
    before = ingested(random_model, archive, clip, retriever=retriever)
    vectors = archive.open_index(before.video.video_id).vectors()
    for path in Path(archive.url).rglob(pattern):
        flip(path)
    [planned] = mend(archive, random_model, dry_run=True)
    [done] = mend(archive, random_model)
    assert done == planned
    assert (done.action, done.error) == ("rebuilt", "")
    after = archive.open_index(before.video.video_id)
    assert content(after.manifest) == content(before)
    assert after.manifest.retriever is not None
    for found, expected in zip(after.vectors(), vectors, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert verify(archive.storage).ok


def _lose(retriever: Path) -> None:
    shutil.rmtree(retriever)


def _other_weights(retriever: Path) -> None:
    shutil.rmtree(retriever)
    write_retriever(retriever, "clip", seed=1)


def _no_weights(retriever: Path) -> None:
    (retriever / "config.json").write_text("{}")


LOST_RETRIEVERS = {
    "gone": (_lose, r"is not here: bring it back"),
    "other weights": (_other_weights, "has other weights or settings here"),
    "no checkpoint": (_no_weights, "does not say what model it is"),
}


@pytest.mark.parametrize("case", LOST_RETRIEVERS)
def test_without_the_very_retriever_it_is_left_or_rebuilt_without_vectors(
    random_model: KVCompressibleModel, archive: Archive, clip: Path, tmp_path: Path, case: str
) -> None:
    lose, message = LOST_RETRIEVERS[case]
    retriever = write_retriever(tmp_path / "retriever", "clip")
    before = ingested(random_model, archive, clip, retriever=str(retriever))
    flip(Path(archive.url) / before.shard_path(0))
    lose(retriever)
    damaged = verify(archive.storage).damaged
    for dry_run in (True, False):
        [left] = mend(archive, random_model, dry_run=dry_run)
        assert left.action == "left"
        assert re.search(message, left.error)
        assert "--no-vectors" in left.error
    assert verify(archive.storage).damaged == damaged

    [done] = mend(archive, random_model, vectors=False)
    assert (done.action, done.error) == ("rebuilt", "")
    after = archive.open_index(before.video.video_id).manifest
    assert after.retriever is None
    assert [chunk.levels["low"].checksum for chunk in after.chunks] == [
        chunk.levels["low"].checksum for chunk in before.chunks
    ]
    assert verify(archive.storage).ok


def _change(archive: Archive, recording: Path) -> None:
    recording.write_bytes(recording.read_bytes() + bytes(188))


def _remove(archive: Archive, recording: Path) -> None:
    recording.unlink()


def _forget(archive: Archive, recording: Path) -> None:
    for path in Path(archive.url).glob("catalog/*"):
        cut(path)


IMPOSSIBLE = {
    "the source changed": (_change, "no longer the video"),
    "the source is gone": (_remove, "no such file"),
    "the settings are lost": (_forget, "both the manifest and the catalog row"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_cannot_be_repaired_is_left_and_said(
    random_model: KVCompressibleModel, archive: Archive, clip: Path, tmp_path: Path, case: str
) -> None:
    spoil, message = IMPOSSIBLE[case]
    recording = tmp_path / "camera.ts"
    recording.write_bytes(clip.read_bytes())
    manifest = ingested(random_model, archive, recording)
    flip(Path(archive.url) / manifest.path)
    spoil(archive, recording)
    damaged = verify(archive.storage).damaged
    for dry_run in (True, False):
        found = next(result for result in mend(archive, random_model, dry_run=dry_run) if result.index is not None)
        assert found.action == "left"
        assert message in found.error
    assert verify(archive.storage).damaged == damaged


def test_only_the_same_model_repairs(
    random_model: KVCompressibleModel, archive: Archive, clip: Path, tmp_path: Path
) -> None:
    manifest = ingested(random_model, archive, clip)
    flip(Path(archive.url) / manifest.shard_path(1))
    other = load_model(str(write_random_checkpoint(tmp_path / "other", seed=1)), device="cpu")
    [found] = mend(archive, other)
    assert found.action == "left"
    assert manifest.spec.model_fingerprint in found.error
    assert "--model" in found.error


def test_an_archive_of_a_newer_version_is_not_touched(
    random_model: KVCompressibleModel, archive: Archive, clip: Path
) -> None:
    ingested(random_model, archive, clip)
    path = Path(archive.url) / layout.ARCHIVE
    path.write_bytes(seal({"created": "2030-01-01"}).replace(b'"format_version": 1', b'"format_version": 2'))
    with pytest.raises(ArchiveFormatError, match="version 2"):
        mend(archive, random_model)


def test_a_level_that_was_removed_stays_removed(
    random_model: KVCompressibleModel, archive: Archive, clip: Path
) -> None:
    from datetime import UTC, datetime, timedelta

    from videox2l.store.retention import expire, find_expired

    manifest = ingested(random_model, archive, clip)
    [expiry] = find_expired([manifest], low=timedelta(0), now=datetime.now(UTC) + timedelta(days=1))
    expire(archive, expiry)
    before = archive.open_index(manifest.video.video_id).manifest
    flip(Path(archive.url) / before.shard_path(1))
    assert [result.action for result in mend(archive, random_model)] == ["rebuilt"]
    after = archive.open_index(manifest.video.video_id).manifest
    assert set(after.dropped) == {"low"}
    assert content(after) == content(before)
    assert verify(archive.storage).ok
