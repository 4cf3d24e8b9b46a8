"""``videox2l calibrate``, and the commands that heed what it stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import run, run_json
from videox2l.store import Archive

SMALL = (
    "--clips",
    "1",
    "--scenes",
    "4",
    "--ratios",
    "2:16",
    "--codecs",
    "raw",
    "--scorers",
    "attention",
    "--top-k",
    "2",
)


def test_calibrate_and_heed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    archive, report = tmp_path / "archive", tmp_path / "report.json"
    Archive.open(archive, create=True)
    code, *_ = run(capsys, "calibrate", *SMALL, "--archive", archive, "--report", report)
    assert code == 0
    stored = json.loads(report.read_text())
    assert stored["recommended"]["select"] in ("attention", "all")
    assert (stored["videos"], len(stored["settings"])) == (1, 3)
    checks = run_json(capsys, "doctor", "--archive", archive)["checks"]
    (said,) = (check["said"] for check in checks if check["name"] == "calibration")
    assert "recommended is ratios 2 and 16, raw" in said


def test_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(capsys, "calibrate", *SMALL, "--dry-run")
    assert code == 0
    assert "3 settings on 1 video with 18 questions: 2 prefills, at most 72 answers" in said
