"""``videox2l calibrate``, and the commands that heed what it stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import run, run_json
from videox2l.evaluation.calibration import rendered_clips
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
    code, out, _ = run(capsys, "calibrate", *SMALL, "--clips", "2", "--archive", archive, "--report", report)
    assert code == 0
    assert "agree, each video asked with the setting that the others recommend" in out
    stored = json.loads(report.read_text())
    assert stored["recommended"]["select"] in ("attention", "all")
    assert (stored["videos"], len(stored["settings"])) == (2, 3)
    assert stored["held_out"].keys() == {"agreement", "interval", "without_setting"}
    checks = run_json(capsys, "doctor", "--archive", archive)["checks"]
    (said,) = (check["said"] for check in checks if check["name"] == "calibration")
    assert "recommended is ratios 2 and 16, raw" in said
    assert "; held out, " in said

    (path, _), *_ = rendered_clips(tmp_path, 1, 4)
    for select, warned in (("attention", False), ("keys", True), ("all", False)):
        code, _, err = run(capsys, "ask", path, "Which scene comes first?", "--archive", archive, "--select", select)
        assert code == 0
        assert ("keys of 2 chunks was not calibrated" in err) == warned
    code, out, _ = run(capsys, "show", path.name, "--archive", archive)
    assert "recommended is ratios 2 and 16, raw" in out
    assert run(capsys, "verify", "--archive", archive)[0] == 0
    (file,) = (archive / "calibrations").iterdir()
    file.write_bytes(file.read_bytes().replace(b"full", b"fuIl"))
    code, out, err = run(capsys, "verify", "--archive", archive)
    assert code == 1
    assert file.name in out + err


def test_nothing_is_good_enough(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "calibrate", *SMALL, "--accuracy", "1", "--agreement", "1", "--ratios", "128:128")
    assert code == 1
    assert "none reaches what is wanted" in out
    assert "held out: cannot be had from a single video" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--videos", "absent.mp4"), "absent.mp4 is no video file"),
        (("--model", "other/model"), "give videos to calibrate on"),
        (("--reference", "best"), "must be full or low"),
        (("--ratios", "2-16"), "no pair"),
        (("--agreement", "2"), "from 0 to 1"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str) -> None:
    code, _, err = run(capsys, "calibrate", *options)
    assert code == 1
    assert said in err


def test_a_video_given_twice_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It would judge a choice that was made from it."""
    (path, _), *_ = rendered_clips(tmp_path, 1, 2)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(path.read_bytes())
    code, _, err = run(capsys, "calibrate", "--videos", path, copy)
    assert code == 1
    assert "are the same video: give it once" in err


def test_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(capsys, "calibrate", *SMALL, "--dry-run")
    assert code == 0
    assert "3 settings on 1 video with 18 questions: 2 prefills, at most 72 answers" in said
