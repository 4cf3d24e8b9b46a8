"""``videox2l ingest`` and ``serve``: what is wrong with the command itself is said before Ray starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from pipelines.cli.main import main

# (command, arguments, what the message must say); {tmp} is an empty folder, {text} a file in it
BAD = {
    "nothing matches": ("ingest", ["{tmp}/*.mkv", "--archive", "{tmp}/archive"], "nothing matches"),
    "an empty folder": ("ingest", ["{tmp}/empty", "--archive", "{tmp}/archive"], "no videos"),
    "negative sampling": ("ingest", ["{text}", "--archive", "{tmp}/archive", "--fps", "-1"], "fps"),
    "absurd ratio": ("ingest", ["{text}", "--archive", "{tmp}/archive", "--high-ratio", "0"], "high_ratio"),
    "unknown model": ("ingest", ["{text}", "--archive", "{tmp}/new", "--model", "none", "--low-ratio", "2"], "none"),
    "unwritable archive": ("ingest", ["{text}", "--archive", "/proc/archive"], "archive"),
    "an archive under a file": ("ingest", ["{text}", "--archive", "{text}/archive"], "archive"),
    "two videos, one time": (
        "ingest",
        ["{text}", "{other}", "--archive", "{tmp}/archive", "--recorded-at", "2026-05-01T09:00:00Z"],
        "recorded_at belongs to one video",
    ),
    "two videos, one recording": (
        "ingest",
        ["{text}", "{other}", "--archive", "{tmp}/archive", "--append-to", "monday.ts"],
        "append_to belongs to one video",
    ),
    "a time of no place": (
        "ingest",
        ["{text}", "--archive", "{tmp}/archive", "--recorded-at", "2026-05-01T09:00:00"],
        "offset from UTC",
    ),
    "no time": ("ingest", ["{text}", "--archive", "{tmp}/archive", "--recorded-at", "noon"], "offset from UTC"),
    "unknown codec": ("ingest", ["{text}", "--archive", "{tmp}/archive", "--low-codec", "zip"], "low codec"),
    "append and replace": (
        "ingest",
        ["{text}", "--archive", "{tmp}/archive", "--append", "--replace"],
        "append or replace",
    ),
    "append with a lossy codec": (
        "ingest",
        ["{text}", "--archive", "{tmp}/archive", "--append", "--high-codec", "int8"],
        "high is stored as int8",
    ),
    "append with a number of frames": (
        "ingest",
        ["{text}", "--archive", "{tmp}/archive", "--append", "--frames", "10"],
        "fixed number of frames",
    ),
    "no archive to serve": ("serve", ["--archive", "{tmp}/archive"], "no archive"),
    "no archive to list": ("ls", ["--archive", "{tmp}/archive"], "no archive"),
    "absurd demo": ("demo", ["--scenes", "none"], "scenes"),
    "absurdly long demo": ("demo", ["--scenes", "1000"], "scenes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path, case: str) -> None:
    command, arguments, message = BAD[case]
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("not a video")
    names = {"tmp": tmp_path, "text": tmp_path / "text.mp4", "other": tmp_path / "other.mp4"}
    connected = ray.is_initialized()
    with pytest.raises(SystemExit) as exit_:
        main([command, *(argument.format_map(names) for argument in arguments)])
    captured = capsys.readouterr()
    assert exit_.value.code == 1
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert ray.is_initialized() == connected
