"""Videos under several names, from the web, from a bucket, with what a list says of them: into the archive and back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import s3fs

from pipelines.ingest import IngestRow, IngestSettings, VideoRequest, ingest
from pipelines.ingest.job import Job, ModelChoice, ModelFacts
from pipelines.ingest.plan import PlannedVideo, check_room
from tests.archives import random_chunks
from tests.cli.commands import run, run_json
from tests.web import serve
from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.errors import ArchiveError, ArchiveNotWritableError
from videox2l.identity import hash_file, known_identity, video_identity
from videox2l.models import KVCompressibleModel
from videox2l.prefill import index_spec, ingest_video, prefill_chunks
from videox2l.store import Archive
from videox2l.video import VideoInfo, VideoPlan, decode_chunks, plan_video

INFO = VideoInfo("/noise.mp4", "mp4", "h264", "yuv420p", 64, 64, 0, 0.0, 40.0, 1.0, has_audio=False)
INFO_VIDEO = known_identity("/noise.mp4", 1, "0" * 64)


@pytest.fixture
def settings(ray_cluster: None, random_checkpoint: Path) -> IngestSettings:
    return IngestSettings(
        str(random_checkpoint),
        "cpu",
        sampling=SamplingConfig(fps=2),
        compression=CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=10),
    )


def outcomes(rows: tuple[IngestRow, ...]) -> list[tuple[str, str]]:
    return sorted((row.status, Path(row.source).name) for row in rows)


def test_one_content_under_several_names(
    settings: IngestSettings, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder, archive = tmp_path / "Ablage, neu", tmp_path / "archive"
    folder.mkdir()
    first, second, third = folder / "Über uns 会議.mp4", folder / "copy of it.mp4", folder / "later.mp4"
    for path in (first, second):
        shutil.copy(clips / "025.mp4", path)
    rows = ingest([folder], archive, settings).rows
    assert sorted(row.status for row in rows) == ["committed", "skipped"]
    [row] = [row for row in rows if row.same_as]
    assert row.error == f"has the same content as {row.same_as}"

    shutil.copy(clips / "025.mp4", third)
    [row] = ingest([third], archive, settings).rows
    assert row.status == "skipped"
    assert row.error.endswith("; it is now also known as later.mp4")
    [row] = ingest([third], archive, settings).rows
    assert row.error == "is in the archive already, made with these settings"

    opened = Archive.open(archive)
    assert {opened.resolve(text) for path in (first, second, third) for text in (path.name, str(path))} == {
        row.video_id
    }
    [listed] = run_json(capsys, "ls", "--archive", archive, "--name", "later*")
    assert {listed["name"], *(also["name"] for also in listed["aliases"])} == {first.name, second.name, third.name}
    _, text, _ = run(capsys, "show", "later.mp4", "--archive", archive)
    for path in (first, second, third):
        assert str(path) in text


def test_a_list_from_the_web(settings: IngestSettings, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    site, archive = tmp_path / "site", tmp_path / "archive"
    site.mkdir()
    for name in ("025", "065"):
        shutil.copy(clips / f"{name}.mp4", site / f"clip {name}.mp4")
    lines = [
        {"source": "clip 025.mp4", "id": "first", "recorded_at": "2026-05-01T09:00:00Z", "camera": "Nord", "floor": 3},
        {"source": "clip 065.mp4", "id": "second", "fps": 5},
    ]
    (site / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with serve(site) as web:
        rows = ingest([f"{web.url}/list.jsonl"], archive, settings).rows
        assert [(row.status, row.name, row.frames) for row in rows] == [
            ("committed", "first", 5),
            ("committed", "second", 33),
        ]
        lines[0]["floor"] = 4
        (site / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
        again = ingest([f"{web.url}/list.jsonl"], archive, settings).rows
        # An unchanged file is known by its ETag: it was read to be hashed, planned and decoded, and not a fourth time.
        assert web.bytes("clip 065.mp4") <= 4 * (site / "clip 065.mp4").stat().st_size
    assert [row.error.partition("; ")[2] for row in again] == ["it has new metadata", ""]

    opened = Archive.open(archive)
    manifest = opened.open_index("first").manifest
    assert manifest.metadata == {"camera": "Nord", "floor": 4}
    assert manifest.recorded_at == "2026-05-01T09:00:00+00:00"
    assert manifest.video.source == f"{web.url}/clip 025.mp4"
    assert opened.resolve("clip 025.mp4") == manifest.video.video_id
    assert opened.open_index("second").manifest.spec.sampling["fps"] == 5
    [listed] = run_json(capsys, "ls", "--archive", archive, "--name", "first")
    assert listed["metadata"] == {"camera": "Nord", "floor": 4}
    [shown] = run_json(capsys, "show", "first", "--archive", archive)
    assert shown["metadata"] == listed["metadata"]
    _, text, _ = run(capsys, "ls", "--archive", archive)
    assert "camera Nord, floor 4" in text


def test_one_content_at_two_rates_is_two_indexes(settings: IngestSettings, clips: Path, tmp_path: Path):
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(clips / "025.mp4", tmp_path / name)
    (tmp_path / "list.csv").write_text("source,fps\r\na.mp4,5\r\nb.mp4,10\r\n")
    rows = ingest([tmp_path / "list.csv"], tmp_path / "archive", settings).rows
    assert [(row.status, row.frames) for row in rows] == [("committed", 13), ("committed", 25)]
    [video] = Archive.open(tmp_path / "archive").videos()
    assert video.names == {"a.mp4", "b.mp4"}


def test_a_bucket_of_videos(clips: Path, tmp_path: Path, s3_bucket: str):
    # A command of its own: workers have the credentials of the environment in which their Ray was started.
    s3fs.S3FileSystem().put(str(clips / "065.mp4"), f"{s3_bucket}/in/Über uns.mp4")
    s3fs.S3FileSystem().pipe(f"{s3_bucket}/in/list.csv", "source,site\nÜber uns.mp4,north\n".encode())
    command = [sys.executable, "-m", "pipelines.cli", "ingest", f"{s3_bucket}/in/list.csv"]
    environment = {name: text for name, text in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [*command, "--archive", tmp_path / "archive", "--device", "cpu"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Über uns.mp4" in done.stdout
    manifest = Archive.open(tmp_path / "archive").open_index("Über uns.mp4").manifest
    assert manifest.metadata == {"site": "north"}
    assert manifest.video == known_identity(f"{s3_bucket}/in/Über uns.mp4", *reversed(hash_file(clips / "065.mp4")))


def test_an_archive_that_can_only_be_read(settings: IngestSettings, clips: Path, tmp_path: Path):
    Archive.open(tmp_path / "site" / "archive", create=True)
    with serve(tmp_path / "site") as web, pytest.raises(ArchiveError, match="cannot write"):
        ingest([clips], f"{web.url}/archive", settings)


def test_a_video_that_does_not_fit_on_the_disk(clips: Path, tmp_path: Path, random_model: KVCompressibleModel):
    archive, clip = Archive.open(tmp_path / "archive", create=True), clips / "025.mp4"
    sampling, compression = SamplingConfig(fps=2), random_model.default_compression
    spec = index_spec(random_model, sampling, compression)
    planned = PlannedVideo(VideoRequest(str(clip)), video_identity(clip), plan_video(clip, sampling, 10), {})
    for bytes_per_token, fits in ((8, True), (2**50, False)):
        facts = ModelFacts(spec, compression, random_model.frame_format, random_model.tokens_per_frame, bytes_per_token)
        job = Job(archive, ModelChoice("tiny", "cpu", None), facts, sampling, False, decode_chunks, 60.0)
        with nullcontext() if fits else pytest.raises(ArchiveNotWritableError, match=r"025\.mp4: its KVs .* free"):
            check_room(planned, job)


@pytest.mark.parametrize("name", ["raw", "int8", "int4", "squeeze"])
def test_bytes_are_predicted_for_every_codec(tmp_path: Path, random_model: KVCompressibleModel, name: str):
    compression = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=10)
    spec = index_spec(random_model, SamplingConfig(), compression, {"low": name, "high": name})
    facts = ModelFacts(
        spec,
        compression,
        random_model.frame_format,
        random_model.tokens_per_frame,
        random_model.geometry.bytes_per_token,
    )
    decoded = list(random_chunks(random_model, 4))
    with Archive.open(tmp_path / "archive", create=True).create_index(INFO_VIDEO, spec) as writer:
        prefill_chunks(random_model, compression, decoded, len(decoded), writer)
        totals = writer.commit().totals
    expected = facts.expected_bytes(VideoPlan(INFO, tuple(item.chunk for item in decoded)))
    for level, total in totals.items():
        framing = 1024 * len(decoded)  # Arrow's, around the buffers of each KV
        assert total.bytes <= expected[level] + framing
        if name != "squeeze":  # which profits from layers that are alike
            assert total.bytes >= expected[level]


def test_one_video_without_ray(clips: Path, tmp_path: Path, random_model: KVCompressibleModel):
    archive = Archive.open(tmp_path / "archive", create=True)
    floors = []
    for floor in (3, 4):
        said = {"name": "entrance", "metadata": {"floor": floor}}
        _, made = ingest_video(random_model, archive, clips / "025.mp4", **said)
        assert (made is not None) == (floor == 3)
        floors.append(archive.open_index("entrance").manifest.metadata["floor"])
    assert floors == [3, 4]
    assert archive.resolve("025.mp4") == archive.resolve("entrance")
