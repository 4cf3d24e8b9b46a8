"""``videox2l ingest`` and ``serve``: what is wrong with the command itself is said before Ray starts; exit statuses."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import ray

from pipelines.cli import status
from pipelines.cli.main import main
from tests.cli.commands import run, run_json
from tests.ray.conftest import clips
from tests.ray_cluster import ray_cluster

__all__ = ["clips", "ray_cluster"]

# What is wrong with an ingest's settings is told apart from what is wrong with its storage; other commands do not.
_STORAGE = {"unwritable archive", "an archive under a file"}

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
    expected = (status.STOPPED if case in _STORAGE else status.WRONG_USAGE) if command == "ingest" else 1
    assert exit_.value.code == expected
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert ray.is_initialized() == connected


def ingest(capsys: pytest.CaptureFixture[str], checkpoint: Path, *arguments: object) -> tuple[int, str, str]:
    shared = ("--model", checkpoint, "--device", "cpu", "--fps", 10, "--progress", "lines")
    return run(capsys, "ingest", *arguments, *shared)


def test_exit_statuses_and_reports(
    capsys: pytest.CaptureFixture[str], ray_cluster: None, random_checkpoint: Path, clips: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    code, out, err = ingest(capsys, random_checkpoint, clips / "025.mp4", "--archive", archive)
    assert code == status.DONE, err
    assert "1 committed" in out
    assert "1 video to ingest" in err
    assert "1/1 videos, 3/3 chunks" in err
    page = Path(err.partition("report: ")[2].strip())
    assert "025.mp4" in page.read_text()

    (tmp_path / "bad.mp4").write_text("not a video")
    code, out, err = ingest(
        capsys, random_checkpoint, clips / "025.mp4", tmp_path / "bad.mp4", "--archive", archive, "--quiet"
    )
    assert code == status.SOME_FAILED
    assert out == ""
    assert err.startswith("failed    bad.mp4: ")
    assert len(err.splitlines()) == 1

    document = run_json(capsys, "report", "--archive", archive)
    assert document["totals"]["by_status"] == {"skipped": 1, "failed": 1}
    assert document["settings"]["sampling"]["fps"] == 10
    code, out, err = run(capsys, "report", page.stem, "--archive", archive)
    assert code == 0
    for part in (page.stem, "1 of 1 (1 committed)", "finished", "025.mp4"):
        assert part in out
    code, _, _ = run(capsys, "report", page.stem, "--archive", archive, "--html", tmp_path / "again.html")
    assert code == 0
    assert (tmp_path / "again.html").read_text() == page.read_text()


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(
    capsys: pytest.CaptureFixture[str], ray_cluster: None, random_checkpoint: Path, clips: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"

    def interrupt() -> None:
        while not list(archive.glob("videos/*/*/attempts/*/*")):  # the first of six videos is being stored
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    code, _, err = ingest(capsys, random_checkpoint, clips, "--archive", archive)
    thread.join()
    assert code == status.INTERRUPTED, err
    assert f"interrupted. {status.GO_ON}" in err
    assert run_json(capsys, "report", "--archive", archive)["outcome"] == "interrupted"

    code, _, err = ingest(capsys, random_checkpoint, clips, "--archive", archive)
    assert code == status.DONE, err
    committed = run_json(capsys, "ls", "--archive", archive)
    assert len(committed) == len(list(clips.iterdir()))


# What an ingest may raise besides what the tests above provoke, and whether its place in the code is shown.
UNUSUAL = {
    "no cluster": (ConnectionError("nothing answers at 192.0.2.1:6379"), False),
    "a cluster that is lost": (ray.exceptions.RaySystemError("the control store is gone"), False),
    "a bug": (KeyError("a bug"), True),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_an_error_of_no_video_is_not_taken_for_failed_videos(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    error, traced = UNUSUAL[case]

    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("pipelines.ingest.pipeline.ingest", broken)
    with pytest.raises(SystemExit) as exit_:
        main(["ingest", "a.mp4", "--archive", str(tmp_path)])
    assert exit_.value.code == status.STOPPED
    shown = capsys.readouterr().err
    assert str(error) in shown
    assert status.GO_ON in shown
    assert ("Traceback" in shown) == traced


def test_sigterm_is_an_interruption_from_the_beginning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def terminated(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("pipelines.ingest.pipeline.ingest", terminated)
    code, _, err = run(capsys, "ingest", "a.mp4", "--archive", tmp_path)
    assert code == status.INTERRUPTED
    assert status.GO_ON in err
    assert signal.getsignal(signal.SIGTERM) == before


def test_json_progress(
    capsys: pytest.CaptureFixture[str], ray_cluster: None, random_checkpoint: Path, clips: Path, tmp_path: Path
) -> None:
    arguments = ("--archive", tmp_path / "archive", "--model", random_checkpoint, "--progress", "json", "--dry-run")
    code, _, err = run(capsys, "ingest", clips / "025.mp4", *arguments)
    assert code == status.DONE
    events = [json.loads(line) for line in err.splitlines()]
    assert [event["event"] for event in events if event["event"] != "progress"] == ["started", "video"]
    assert events[-1]["finished"] == 1
