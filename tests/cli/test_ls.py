"""``videox2l ls`` and ``du`` on real archives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.archives import leave_attempt
from tests.cli.commands import run, run_json
from tests.unit.store.samples import video
from videox2l.store import Archive


def test_ls(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    rows = run_json(capsys, "ls", "--archive", folder)
    assert [(row["id"], row["name"], row["chunks"]) for row in rows] == [
        (video("long.mp4").video_id, "long.mp4", 12),
        *[(video("short.mp4").video_id, "short.mp4", chunks) for chunks in (row["chunks"] for row in rows[1:])],
    ]
    assert {row["sampling"]["fps"] for row in rows[1:]} == {1, 2}
    assert all(row["bytes"]["low"] > row["bytes"]["high"] > 0 for row in rows)
    code, out, _ = run(capsys, "ls", "--archive", folder)
    assert code == 0
    assert out.count("short.mp4") == 2
    assert "0:02:00.0" in out


def test_ls_of_some(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert len(run_json(capsys, "ls", "--archive", folder, "--name", "sh*.mp4")) == 2
    assert run_json(capsys, "ls", "--archive", folder, "--name", "*.avi") == []


def test_ls_of_an_empty_archive(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Archive.open(tmp_path, create=True)
    assert run_json(capsys, "ls", "--archive", tmp_path) == []
    assert "no videos" in run(capsys, "ls", "--archive", tmp_path)[2]


def test_du(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    rows = run_json(capsys, "ls", "--archive", folder)
    left = leave_attempt(folder)
    found = run_json(capsys, "du", "--archive", folder)
    for level in ("low", "high"):
        assert found["levels"][level] == sum(row["bytes"][level] for row in rows)
        assert sum(entry[level] for entry in found["videos"]) == found["levels"][level]
        assert sum(entry[level] for entry in found["models"]) == found["levels"][level]
    assert found["unused"] == sum(path.stat().st_size for path in left)
    assert found["total"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    short = next(entry for entry in found["videos"] if entry["name"] == "short.mp4")
    assert short["indexes"] == 2
    assert short["duration_s"] < 60
    out = run(capsys, "du", "--archive", folder)[1]
    assert "long.mp4" in out
    assert "videox2l gc" in out
