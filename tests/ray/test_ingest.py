"""The ingest job on a real cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from pipelines.ingest import (
    ChunkDone,
    Event,
    IngestSettings,
    IngestSummary,
    JobStarted,
    RowFinished,
    VideoPlanned,
    ingest,
)
from pipelines.ingest.memory import Share
from tests.ray.decoders import killed_by_some, slow
from tests.unit.prefill.recordings import content, record
from tests.unit.video.clips import regular
from videox2l.config import CompressionConfig, SamplingConfig
from videox2l.errors import ArchiveNotWritableError, ConfigError, InsufficientMemoryError, UnknownModelError
from videox2l.identity import video_identity
from videox2l.models import KVCompressibleModel
from videox2l.models.memory import USABLE, required_bytes
from videox2l.prefill import index_spec, ingest_video, prefill_chunks
from videox2l.store import Archive, Manifest
from videox2l.store.verify import verify
from videox2l.video import decode_chunks, plan_video

SAMPLING = SamplingConfig(fps=10)
COMPRESSION = CompressionConfig(low_ratio=2, high_ratio=8, frames_per_chunk=10)


# What belongs to a call; everything else is a setting.
_CALL = {"decoder", "dry_run", "ledger", "on_progress", "storage_options"}


@pytest.fixture
def run(ray_cluster: None, random_checkpoint: Path, tmp_path: Path):
    """``ingest`` with everything filled in that the tests share."""

    def run(sources: Sequence[str | Path], **options: object) -> IngestSummary:
        archive = options.pop("archive", tmp_path / "archive")
        call = {name: options.pop(name) for name in _CALL & options.keys()}
        shared = {"model": str(random_checkpoint), "sampling": SAMPLING, "compression": COMPRESSION, "device": "cpu"}
        return ingest(sources, archive, IngestSettings(**(shared | options)), **call)

    return run


def statuses(summary: IngestSummary) -> dict[str, str]:
    return {Path(row.source).name: row.status for row in summary.rows}


def committed(archive: str | Path) -> list[str]:
    return [video.name for video in Archive.open(archive).videos()]


def test_many_clips_equal_a_prefill_in_process(run, clips: Path, tmp_path: Path, random_model: KVCompressibleModel):
    events: list[Event] = []
    summary = run([clips], prefill_actors=2, on_progress=events.append)

    assert summary.ok
    assert summary.count("committed") == 6
    assert [Path(row.source).name for row in summary.rows] == sorted(path.name for path in clips.iterdir())
    assert [row.chunks for row in summary.rows] == [3, 7, 10, 13, 18, 23]
    assert [row.frames for row in summary.rows] == [25, 65, 100, 130, 180, 225]
    for row in summary.rows:
        assert row.duration_s == pytest.approx(row.frames / 10)
        assert set(row.seconds) == {"identify", "plan", "wait", "vision", "low", "high", "store", "commit"}
        assert min(row.seconds.values()) >= 0
        assert row.low_bytes > row.high_bytes > 0

    _check_events(events, {row.source: row.chunks for row in summary.rows})
    _check_ledger(tmp_path / "archive", summary)
    _check_kvs(tmp_path, clips, random_model)


def _check_events(events: Sequence[Event], chunks: dict[str, int]) -> None:
    assert events[0] == JobStarted(6)
    assert {event.source: event.chunks for event in events if isinstance(event, VideoPlanned)} == chunks
    done = defaultdict(list)
    for event in events:
        if isinstance(event, ChunkDone):
            done[event.source].append(event.done)
    for source, count in chunks.items():
        assert done[source][0] == 1 and done[source][-1] == count and done[source] == sorted(set(done[source]))
    assert sorted(event.row.source for event in events if isinstance(event, RowFinished)) == sorted(chunks)


def _check_ledger(archive: Path, summary: IngestSummary) -> None:
    assert Path(summary.ledger) == archive / "runs" / f"{summary.run_id}.jsonl"
    head, *lines = [json.loads(line) for line in Path(summary.ledger).read_text().splitlines()]
    assert head["run"] == summary.run_id
    assert head["settings"]["sampling"]["fps"] == 10
    *rows, end = lines
    assert end["end"]["outcome"] == "finished"
    assert {line["source"]: line["status"] for line in rows} == {row.source: row.status for row in summary.rows}


def _check_kvs(tmp_path: Path, clips: Path, model: KVCompressibleModel) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as many as a prefill worker has: sums depend on how they are split
    try:
        ours = Archive.open(tmp_path / "alone", create=True)
        theirs = Archive.open(tmp_path / "archive")
        spec = index_spec(model, SAMPLING, COMPRESSION)
        for clip in clips.iterdir():
            identity, _ = ingest_video(model, ours, clip, sampling=SAMPLING, compression=COMPRESSION)
            expected, found = (archive.open_index(identity.video_id, spec=spec) for archive in (ours, theirs))
            checksums = [
                [kv.checksum for chunk in reader.manifest.chunks for kv in chunk.levels.values()]
                for reader in (expected, found)
            ]
            assert checksums[0] == checksums[1]
            assert expected.manifest.prompt.checksum == found.manifest.prompt.checksum
            spans = [[(c.start_s, c.end_s, c.frames) for c in reader.manifest.chunks] for reader in (expected, found)]
            assert spans[0] == spans[1]
            for chunk in range(len(expected.manifest.chunks)):
                assert found.thumbnail(chunk) == expected.thumbnail(chunk) is not None
    finally:
        torch.set_num_threads(threads)


def test_a_broken_file_is_a_row_and_the_second_run_skips(run, clips: Path, tmp_path: Path):
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name in ("025.mp4", "065.mp4"):
        shutil.copy(clips / name, mixed)
    shutil.copy(clips / "065.mp4", mixed / "copy of 065.mp4")
    whole = (clips / "180.mp4").read_bytes()
    (mixed / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (mixed / "empty.mp4").touch()
    (mixed / "text.mp4").write_text("not a video")
    copy = tmp_path / "ledgers" / "copy.jsonl"

    summary = run([mixed, tmp_path / "missing.mp4"], ledger=copy)
    found = statuses(summary)
    assert {name for name, status in found.items() if status == "failed"} == {
        "cut.mp4",
        "empty.mp4",
        "missing.mp4",
        "text.mp4",
    }
    assert found["025.mp4"] == "committed"
    assert sorted((found["065.mp4"], found["copy of 065.mp4"])) == ["committed", "skipped"]
    assert not summary.ok
    for row in summary.rows:
        if row.status == "failed":
            assert row.error_type.endswith("VideoError")
            assert Path(row.source).name in row.error
            assert row.error_type in row.traceback
    assert copy.read_text() == Path(summary.ledger).read_text()

    started = []
    again = run([mixed], on_progress=lambda event: started.append(event) if isinstance(event, ChunkDone) else None)
    assert not started
    assert {name for name, status in statuses(again).items() if status == "skipped"} == {
        "025.mp4",
        "065.mp4",
        "copy of 065.mp4",
    }
    assert len(committed(tmp_path / "archive")) == 2


def test_a_file_that_kills_its_decoder_is_a_row(run, clips: Path, tmp_path: Path):
    bad, good = tmp_path / "kills.mp4", tmp_path / "fine.mp4"
    shutil.copy(clips / "065.mp4", bad)
    shutil.copy(clips / "025.mp4", good)
    summary = run([bad, good], decoder=killed_by_some)
    assert [row.status for row in summary.rows] == ["failed", "committed"]
    assert summary.rows[0].error_type == "DecoderCrashedError"
    assert "kills.mp4" in summary.rows[0].error
    assert committed(tmp_path / "archive") == ["fine.mp4"]
    video_id = video_identity(bad).video_id
    assert not list((tmp_path / "archive" / "videos" / video_id).glob("*/attempts/*/*"))


def test_object_storage(run, clips: Path, s3_bucket: str, s3_server: str):
    options = {"endpoint_url": s3_server, "key": "test", "secret": "test"}
    summary = run([clips / "025.mp4", clips / "065.mp4"], archive=f"{s3_bucket}/archive", storage_options=options)
    assert summary.count("committed") == 2, summary.rows
    archive = Archive.open(f"{s3_bucket}/archive")
    assert [video.name for video in archive.videos()] == ["025.mp4", "065.mp4"]
    assert summary.ledger == f"{s3_bucket}/archive/runs/{summary.run_id}.jsonl"


def test_a_dry_run_writes_nothing_and_predicts_sizes(run, clips: Path, tmp_path: Path):
    preview = run([clips / "065.mp4"], dry_run=True)
    assert not (tmp_path / "archive").exists()
    assert preview.ledger == ""
    real = run([clips / "065.mp4"])
    (planned,), (made,) = preview.rows, real.rows
    assert planned.status == "planned"
    for name in ("video_id", "name", "chunks", "frames", "duration_s"):
        assert getattr(planned, name) == getattr(made, name)
    # Stored tensors come with a few hundred bytes of Arrow around each.
    assert 0 <= made.low_bytes - planned.low_bytes < 1024 * made.chunks
    assert 0 <= made.high_bytes - planned.high_bytes < 1024 * made.chunks
    assert statuses(run([clips / "065.mp4"], dry_run=True)) == {"065.mp4": "skipped"}


def test_what_concerns_the_whole_job_is_raised_before_it_starts(run, clips: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match="nothing matches"):
        run([clips / "*.mkv"])
    with pytest.raises(UnknownModelError, match="no model"):
        run([clips], model=str(tmp_path / "no-such-model"))
    with pytest.raises(UnknownModelError, match="no model 'tny'"):
        run([clips], model="tny", archive=tmp_path / "untouched")
    assert not (tmp_path / "untouched").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveNotWritableError):
        run([clips], archive=tmp_path / "file" / "archive")
    with pytest.raises(ConfigError, match="prefill_actors"):
        run([clips], prefill_actors=0)


def test_ctrl_c_leaves_what_the_next_run_goes_on_from(run, clips: Path, tmp_path: Path):
    interrupted = threading.Event()

    def interrupt(event: Event) -> None:
        # Not every chunk is reported.
        if isinstance(event, ChunkDone) and event.done >= 2 and not interrupted.is_set():
            interrupted.set()
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run([clips / "225.mp4"], decoder=slow, on_progress=interrupt)
    archive = tmp_path / "archive"
    assert not list(archive.glob("videos/*/*/manifest.json"))
    assert list(archive.glob("videos/*/*/attempts/*/journal.json"))
    damaged = shutil.copytree(archive, tmp_path / "damaged")
    for shard in damaged.glob("videos/*/*/attempts/*/low-*.arrow"):
        shard.write_bytes(bytes(shard.stat().st_size))
    [row] = run([clips / "225.mp4"]).rows
    assert (row.status, row.chunks) == ("committed", 23)
    assert row.kept >= 2
    assert not list(archive.glob("videos/*/*/attempts/*/*.json"))
    [row] = run([clips / "225.mp4"], archive=damaged).rows
    assert (row.status, row.chunks, row.kept) == ("committed", 23, 0)


def test_a_lost_prefill_worker_is_replaced(run, clips: Path, tmp_path: Path):
    killed = []

    def kill(event: Event) -> None:
        if isinstance(event, ChunkDone) and not killed:
            killed.extend(_kill_prefill_workers())

    summary = run([clips / "225.mp4"], decoder=slow, on_progress=kill)
    assert len(killed) == 1
    assert statuses(summary) == {"225.mp4": "committed"}


def test_videos_in_shared_forwards(run, clips: Path, tmp_path: Path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    run([clips], archive=alone)
    assert set(statuses(run([clips], archive=together, videos_per_actor=3)).values()) == {"committed"}
    one, other = Archive.open(alone), Archive.open(together)
    for video in one.videos():
        expected, found = one.open_index(video.video_id), other.open_index(video.video_id)
        chunks = range(len(expected.manifest.chunks))
        for right, kv in zip(expected.high(chunks), found.high(chunks), strict=True):
            # float32 sums over more rows, values up to about ten
            torch.testing.assert_close(kv.keys_LHTD, right.keys_LHTD, atol=2e-4, rtol=0)
            torch.testing.assert_close(kv.values_LHTD, right.values_LHTD, atol=2e-4, rtol=0)


def test_a_recording_that_grows(run, tmp_path: Path, random_model: KVCompressibleModel):
    whole, recording = record(tmp_path / "whole.ts", regular(75)), tmp_path / "camera.ts"
    data = whole.read_bytes()
    recording.write_bytes(data[: int(len(data) * 0.45)])
    recorded_at = "2026-05-01T09:00:00+02:00"
    [first] = run([recording], append=True, recorded_at=recorded_at).rows
    assert (first.status, first.chunks, first.kept) == ("committed", 4, 0)

    events: list[Event] = []
    [second] = run([whole], append_to="camera.ts", on_progress=events.append).rows
    assert (second.status, second.chunks, second.video_id) == ("committed", 8, first.video_id)
    assert 0 < second.kept < 4
    assert [event.chunks for event in events if isinstance(event, VideoPlanned)] == [8 - second.kept]
    done = [event.done for event in events if isinstance(event, ChunkDone)]
    assert done[0] == 1 and done[-1] == 8 - second.kept

    archive = Archive.open(tmp_path / "archive")
    [video] = archive.videos()
    manifest = archive.open_index(video.video_id).manifest
    assert manifest.recorded_at == recorded_at
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as many as a prefill worker has
    try:
        alone = Archive.open(tmp_path / "alone", create=True)
        _, expected = ingest_video(random_model, alone, whole, sampling=SAMPLING, compression=COMPRESSION)
    finally:
        torch.set_num_threads(threads)
    assert expected is not None
    assert content(manifest) == content(expected)

    [third] = run([whole], append=True).rows
    assert (third.status, third.error) == ("skipped", "has not grown since its last ingest")
    record(whole, regular(90), crf="45")
    [fourth] = run([whole], append=True).rows
    assert (fourth.status, fourth.error_type) == ("failed", "AppendError")


def test_codecs_and_replacement(run, clips: Path, tmp_path: Path):
    [first] = run([clips / "065.mp4"]).rows
    codecs = {"low": "squeeze", "high": "int8"}
    [second] = run([clips / "065.mp4"], codecs=codecs).rows
    archive = Archive.open(tmp_path / "archive")
    [video] = archive.videos()
    assert [(row.low_codec, row.high_codec) for row in video.indexes] in (
        [("raw", "raw"), ("squeeze", "int8")],
        [("squeeze", "int8"), ("raw", "raw")],
    )
    assert second.high_bytes < first.high_bytes
    [third] = run([clips / "065.mp4"], codecs=codecs, replace=True, thumbnails=False).rows
    assert third.status == "committed"
    [video] = archive.videos()
    [row] = video.indexes
    assert row.low_codec == "squeeze"
    assert row.low_bytes == second.low_bytes
    assert archive.open_index(video.video_id).thumbnail(0) is None


def test_a_video_that_another_job_commits_meanwhile_is_skipped(
    run, clips: Path, tmp_path: Path, random_model: KVCompressibleModel
):
    clip, archive = clips / "225.mp4", Archive.open(tmp_path / "archive", create=True)
    chunks = plan_video(clip, SAMPLING, COMPRESSION.frames_per_chunk).chunks
    decoded = decode_chunks(clip, chunks, random_model.frame_format)
    winners: list[Manifest] = []
    spec = index_spec(random_model, SAMPLING, COMPRESSION)
    with archive.create_index(video_identity(clip), spec) as writer:
        prefill_chunks(random_model, COMPRESSION, decoded, len(chunks), writer)

        def commit(event: Event) -> None:
            if isinstance(event, ChunkDone) and not winners:
                winners.append(writer.commit())

        summary = run([clip], decoder=slow, on_progress=commit)
    assert statuses(summary) == {"225.mp4": "skipped"}
    assert summary.ok
    assert "another writer committed" in summary.rows[0].error
    assert [archive.open_index(summary.rows[0].video_id).manifest] == winners
    assert verify(archive.storage).unused == ()


def _kill_prefill_workers() -> list[int]:
    """SIGKILL, as by the kernel when memory runs out."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()[1:]]
    parents = {int(pid): int(parent) for pid, parent, *_ in rows}
    workers = [int(pid) for pid, _, *args in rows if args and "PrefillStage" in args[0]]
    ours = [pid for pid in workers if parents.get(parents[pid]) == os.getpid()]  # a raylet lies between
    for pid in ours:
        os.kill(pid, signal.SIGKILL)
    return ours


def test_what_does_not_fit_the_device_is_said_before_the_work(run, clips: Path, random_model, tmp_path: Path) -> None:
    with pytest.raises(InsufficientMemoryError, match=r"Even in bfloat16 one chunk .* larger device"):
        run([clips], memory_per_actor_gib=1e-5)
    assert committed(tmp_path / "archive") == []
    # Room for ten chunks, though not for the longest clips'.
    work = random_model.workload(COMPRESSION, chunks=10)
    limit = required_bytes(work, mask=True).total / USABLE / 2**30 + 1e-9
    summary = run([clips], memory_per_actor_gib=limit)
    fitting = {"025.mp4", "065.mp4", "100.mp4"}
    assert {name for name, status in statuses(summary).items() if status == "committed"} == fitting
    for row in summary.rows:
        if Path(row.source).name not in fitting:
            assert (row.status, row.error_type) == ("failed", "InsufficientMemoryError")
            assert row.error.startswith("a prefill of a video of")
            assert "What would fit: videos of up to 10 chunks" in row.error
    # It is no fault of theirs: with more memory they are tried again.
    assert run([clips], dry_run=True).count("planned") == 3


def test_memory_is_shared_out_among_the_workers_of_a_device() -> None:
    assert Share(gpus=1, cpus=1, workers=8).of(80, node_cpus=16) == 80
    assert Share(gpus=0.25, cpus=1, workers=8).of(80, node_cpus=16) == 20
    assert Share(gpus=0.25, cpus=1, workers=2).of(80, node_cpus=16) == 40
    assert Share(gpus=0, cpus=8, workers=8).of(80, node_cpus=16) == 40
    assert Share(gpus=0, cpus=8, workers=1, ranks=2).of(80, node_cpus=16) == 40
    assert Share(gpus=0.5, cpus=1, workers=2, limit_bytes=70).of(80, node_cpus=16) == 70
    assert Share(gpus=0.5, cpus=1, workers=2, limit_bytes=90).of(80, node_cpus=16) == 80
