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
    "no archive to serve": ("serve", ["--archive", "{tmp}/archive"], "no archive"),
    "no archive to list": ("videos", ["--archive", "{tmp}/archive"], "no archive"),
    "absurd demo": ("demo", ["--scenes", "none"], "scenes"),
    "absurdly long demo": ("demo", ["--scenes", "1000"], "scenes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path, case: str) -> None:
    command, arguments, message = BAD[case]
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("not a video")
    names = {"tmp": tmp_path, "text": tmp_path / "text.mp4"}
    connected = ray.is_initialized()
    with pytest.raises(SystemExit) as exit_:
        main([command, *(argument.format_map(names) for argument in arguments)])
    captured = capsys.readouterr()
    assert exit_.value.code == 1
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert ray.is_initialized() == connected
