"""One video in the calling process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.prefill.recordings import COMPRESSION, SAMPLING, content, record
from tests.unit.video.clips import regular
from videox2l.config import SamplingConfig
from videox2l.errors import ConfigError, FingerprintMismatchError, InsufficientMemoryError, SourceChangedError
from videox2l.models import KVCompressibleModel
from videox2l.models.memory import USABLE, required_bytes
from videox2l.prefill import index_spec, ingest_video
from videox2l.prefill.ingest import wall_clock
from videox2l.store import Archive
from videox2l.video import decode_chunks, plan_video, thumbnail

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2026-05-01T09:00:00+02:00", "2026-05-01T09:00:00+02:00"),
        ("2026-05-01 09:00Z", "2026-05-01T09:00:00+00:00"),
        ("20260501T090000.5-0330", "2026-05-01T09:00:00.500000-03:30"),
    ],
)
def test_wall_clock(text: str, written: str) -> None:
    assert wall_clock(text) == written


@pytest.mark.parametrize("text", ["", "noon", "2026-05-01", "2026-05-01T09:00:00", "2026-13-01T09:00:00Z"])
def test_no_wall_clock(text: str) -> None:
    with pytest.raises(ConfigError, match="offset from UTC"):
        wall_clock(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"recorded_at": "2026-05-01T09:00:00"}, "offset"), ({"codecs": {"low": "raw", "high": "zip"}}, "high codec")],
)
def test_bad_settings_cost_nothing(
    random_model: KVCompressibleModel, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    archive = Archive.open(tmp_path / "archive", create=True)
    with pytest.raises(ConfigError, match=message):
        ingest_video(random_model, archive, record(tmp_path / "clip.ts", regular(25)), **settings)
    assert [info.path for info in archive.storage.files()] == ["archive.json"]


def test_again_skips_and_replace_does_not(random_model: KVCompressibleModel, tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "archive", create=True)
    clip = record(tmp_path / "clip.ts", regular(25))
    settings: dict[str, Any] = {"sampling": SAMPLING, "compression": COMPRESSION}
    identity, first = ingest_video(random_model, archive, clip, **settings)
    ingest_video(random_model, archive, clip, sampling=SamplingConfig(fps=2), compression=COMPRESSION)
    assert ingest_video(random_model, archive, clip, **settings) == (identity, None)
    _, second = ingest_video(random_model, archive, clip, **settings, replace=True, recorded_at="2026-05-01T09:00:00Z")
    assert first is not None
    assert second is not None
    assert content(first) == content(second)
    [video] = archive.videos()
    [row] = video.indexes
    assert row.recorded_at == "2026-05-01T09:00:00+00:00"


def test_exact_and_single_pass_kvs_are_never_taken_for_each_other(
    random_model: KVCompressibleModel, tmp_path: Path
) -> None:
    archive = Archive.open(tmp_path / "archive", create=True)
    clip = record(tmp_path / "clip.ts", regular(25))
    single = dataclasses.replace(COMPRESSION, prefill="single-pass")
    identity, exact = ingest_video(random_model, archive, clip, sampling=SAMPLING, compression=COMPRESSION)
    spec = index_spec(random_model, SAMPLING, single)
    with pytest.raises(FingerprintMismatchError, match="prefill: stored exact, asked for single-pass"):
        archive.open_index(identity.video_id, spec=spec)
    _, other = ingest_video(random_model, archive, clip, sampling=SAMPLING, compression=single)
    assert exact is not None
    assert other is not None
    assert other.spec.compression["prefill"] == "single-pass"
    assert archive.open_index(identity.video_id, spec=spec).manifest.index_fp == other.index_fp != exact.index_fp
    with pytest.raises(FingerprintMismatchError, match="2 indexes"):
        archive.open_index(identity.video_id)


def test_thumbnails_change_nothing_else(random_model: KVCompressibleModel, tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "archive", create=True)
    clip = record(tmp_path / "clip.ts", regular(25))
    settings: dict[str, Any] = {"sampling": SAMPLING, "compression": COMPRESSION}
    identity, shown = ingest_video(random_model, archive, clip, **settings)
    reader = archive.open_index(identity.video_id)
    frames = list(decode_chunks(clip, plan_video(clip, SAMPLING, 10).chunks, random_model.frame_format))
    assert [reader.thumbnail(item.chunk.index) for item in frames] == [thumbnail(item.frames_FHWC) for item in frames]
    _, plain = ingest_video(random_model, archive, clip, **settings, replace=True, thumbnails=False)
    assert shown is not None and plain is not None
    assert plain.index_fp == shown.index_fp
    assert {entry.part for entry in plain.shards} == {"prompt", "low", "high"}
    bare = [dataclasses.replace(chunk, thumbnail=None) for chunk in shown.chunks]
    assert content(dataclasses.replace(shown, chunks=bare)) == content(plain)


def test_a_video_too_long_for_the_device(random_model: KVCompressibleModel, tmp_path: Path) -> None:
    archive = Archive.open(tmp_path / "archive", create=True)
    clip = record(tmp_path / "clip.ts", regular(25))
    settings: dict[str, Any] = {"sampling": SAMPLING, "compression": COMPRESSION}
    # As much as two of its three chunks need.
    enough = required_bytes(random_model.workload(COMPRESSION, chunks=3), mask=True, loaded=True).total
    limit = required_bytes(random_model.workload(COMPRESSION, chunks=2), mask=True, loaded=True).total
    words = r"3 chunks of 10 frames .* beside the weights on cpu.* What would fit: videos of up to 2 chunks"
    with pytest.raises(InsufficientMemoryError, match=words):
        ingest_video(random_model, archive, clip, **settings, device_memory=int(limit / USABLE) + 1)
    assert list(archive.manifests()) == []
    _, manifest = ingest_video(random_model, archive, clip, **settings, device_memory=int(enough / USABLE) + 1)
    assert manifest is not None


CHANGES: dict[str, tuple[Callable[[Path, bytes], object], str]] = {
    "overwritten": (lambda clip, data: clip.write_bytes(bytes(len(data))), "was overwritten while it was ingested"),
    "cut off": (lambda clip, data: clip.write_bytes(data[:-1]), "was overwritten while it was ingested"),
    "removed": (lambda clip, _: clip.unlink(), "was removed while it was ingested"),
    "written again": (lambda clip, data: clip.write_bytes(data), ""),
    "grown": (lambda clip, data: clip.write_bytes(data + bytes(100)), ""),
}


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_ingested(
    random_model: KVCompressibleModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, settled: bool
) -> None:
    """``settled``: its times are old enough to tell one content from the next."""
    monkeypatch.setattr("videox2l.identity._SETTLED_S", -1.0 if settled else 1e6)
    archive = Archive.open(tmp_path / "archive", create=True)
    clip = record(tmp_path / "clip.ts", regular(25))
    make_change, message = CHANGES[change]

    def progress(done: int, total: int) -> None:
        if done == total:
            make_change(clip, clip.read_bytes())

    def run() -> None:
        ingest_video(random_model, archive, clip, sampling=SAMPLING, compression=COMPRESSION, progress=progress)

    if message:
        with pytest.raises(SourceChangedError, match=message):
            run()
    else:
        run()
    assert len(archive.videos()) == (not message)
