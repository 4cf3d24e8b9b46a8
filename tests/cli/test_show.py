"""``videox2l show`` on real archives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.archives import spoil
from tests.cli.commands import run, run_json
from tests.unit.store.samples import video


def test_show(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    [index] = run_json(capsys, "show", "long.mp4", "--archive", folder)
    assert index["id"] == video("long.mp4").video_id
    assert index["levels"]["low"] == {"tokens": 144, "bytes": index["levels"]["low"]["bytes"], "shards": 1}
    assert index["ratio"]["tokens"] == 6
    assert index["head_ranges"] == [[[0, 2]]]
    assert [(chunk["start_s"], chunk["end_s"]) for chunk in index["chunks"][:2]] == [(0, 10), (10, 20)]
    assert index["sampling"]["fps"] == 1
    short = run(capsys, "show", "long.mp4", "--archive", folder)[1]
    full = run(capsys, "show", "long.mp4", "--archive", folder, "--chunks")[1]
    assert "…" in short
    assert "computed by  one device" in short
    assert "0:01:00.0" not in short
    assert "0:01:00.0" in full
    assert video("long.mp4").sha256 in short


def test_show_tells_indexes_apart(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert len(run_json(capsys, "show", "short.mp4", "--archive", folder)) == 2
    out = run(capsys, "show", "short.mp4", "--archive", folder)[1]
    assert "index 2 differs from index 1 in:" in out
    assert "sampling.fps: index 1 has" in out


def test_show_beside_a_damaged_index(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    manifests = sorted((folder / "videos" / video("short.mp4").video_id).glob("*/manifest.json"))
    spoil(manifests[0])
    code, out, err = run(capsys, "show", "short.mp4", "--archive", folder)
    assert code == 0
    assert manifests[1].parent.name in out
    assert "is damaged" in err
    spoil(manifests[1])
    assert run(capsys, "show", "short.mp4", "--archive", folder)[0] == 1
