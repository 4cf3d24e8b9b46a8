"""As users call it, with the file read in child processes."""

from __future__ import annotations

from pathlib import Path

from tests.unit.prefill.recordings import COMPRESSION, SAMPLING, content, record
from tests.unit.video.clips import regular
from videox2l.models import KVCompressibleModel
from videox2l.prefill import append_video, ingest_video
from videox2l.store import Archive


def test_append(random_model: KVCompressibleModel, tmp_path: Path) -> None:
    whole, recording = record(tmp_path / "whole.ts", regular(45)), tmp_path / "camera.ts"
    data = whole.read_bytes()
    archive = Archive.open(tmp_path / "archive", create=True)
    for share in (0.6, 1):
        recording.write_bytes(data[: int(len(data) * share)])
        _, manifest = append_video(random_model, archive, recording, sampling=SAMPLING, compression=COMPRESSION)
    alone = Archive.open(tmp_path / "alone", create=True)
    _, expected = ingest_video(random_model, alone, whole, sampling=SAMPLING, compression=COMPRESSION)
    assert manifest is not None
    assert expected is not None
    assert content(manifest) == content(expected)
