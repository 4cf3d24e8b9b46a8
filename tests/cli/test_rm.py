"""``videox2l rm``, ``gc`` and ``retain``: what they remove, what they leave, and what they ask."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.cli.archives import ids, leave_attempt, spoil
from tests.cli.commands import run, run_json
from tests.unit.store.samples import video


def test_rm(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    would = run_json(capsys, "rm", "short.mp4", "--archive", folder, "--dry-run")
    assert len(ids(capsys, folder)) == 3
    assert run_json(capsys, "rm", "short.mp4", "--archive", folder) == {**would, "dry_run": False}
    assert [name for name, _ in ids(capsys, folder)] == ["long.mp4"]
    assert run_json(capsys, "verify", "--archive", folder)["unused"] == []
    assert len(list(folder.rglob("*.arrow"))) == 3


def test_rm_one_index(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    gone, stays = (index for name, index in ids(capsys, folder) if name == "short.mp4")
    assert run(capsys, "rm", "short.mp4", "--index", gone[:8], "--archive", folder)[0] == 0
    assert [index for name, index in ids(capsys, folder) if name == "short.mp4"] == [stays]
    code, _, err = run(capsys, "rm", "short.mp4", "--index", gone[:8], "--archive", folder)
    assert code == 1
    assert stays in err


def test_a_wrong_name_removes_nothing(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, _, err = run(capsys, "rm", "short.mp4", "lnog.mp4", "--archive", folder)
    assert code == 1
    assert "long.mp4" in err
    assert len(ids(capsys, folder)) == 3


def test_rm_of_a_damaged_index(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    [manifest] = (folder / "videos" / video("long.mp4").video_id).glob("*/manifest.json")
    spoil(manifest)
    assert run(capsys, "rm", video("long.mp4").video_id, "--archive", folder)[0] == 0
    assert run_json(capsys, "verify", "--archive", folder)["indexes"] == 2


class Terminal(io.StringIO):
    """Keys typed at a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "arguments", "left"), [("y\n", [], 1), ("n\n", [], 3), ("", [], 3), ("n\n", ["--yes"], 1)]
)
def test_rm_asks_at_a_terminal(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    typed: str,
    arguments: list[str],
    left: int,
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    code, _, _ = run(capsys, "rm", "short.mp4", "--archive", folder, *arguments)
    assert code == (0 if left == 1 else 1)
    monkeypatch.undo()
    assert len(ids(capsys, folder)) == left


def test_gc(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    left = leave_attempt(folder)
    assert len(left) == 3
    assert run_json(capsys, "gc", "--archive", folder)["files"] == 0  # too young
    would = run_json(capsys, "gc", "--archive", folder, "--older-than", "0s", "--dry-run")
    assert [item["reason"] for item in would["garbage"]] == ["never committed"]
    assert [folder / path for path in would["garbage"][0]["paths"]] == left
    assert all(path.exists() for path in left)
    code, out, _ = run(capsys, "gc", "--archive", folder, "--older-than", "0s")
    assert code == 0
    assert "never committed" in out
    assert "removed 3 files" in out
    assert not any(path.exists() for path in left)
    assert run_json(capsys, "verify", "--archive", folder)["ok"]


def test_retain(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert run_json(capsys, "retain", "--low", "1d", "--high", "1y", "--archive", folder)["removed"] == []
    would = run_json(capsys, "retain", "--low", "0s", "--archive", folder, "--dry-run")
    assert [item["level"] for item in would["removed"]] == ["low"] * 3
    assert all(row["bytes"]["low"] for row in run_json(capsys, "ls", "--archive", folder))
    done = run_json(capsys, "retain", "--low", "0s", "--archive", folder)
    assert done == {**would, "dry_run": False}
    assert not any(row["bytes"]["low"] for row in run_json(capsys, "ls", "--archive", folder))
    [index] = run_json(capsys, "show", "long.mp4", "--archive", folder)
    assert "low" in index["dropped"]
    assert index["ratio"] is None
    assert "the low level, on" in run(capsys, "show", "long.mp4", "--archive", folder)[1]
    report = run_json(capsys, "verify", "--archive", folder)
    assert report["ok"]
    assert report["unused"] == []
    out = run(capsys, "retain", "--high", "0s", "--archive", folder)[1]
    assert out.count("whole index") == 3
    assert run_json(capsys, "ls", "--archive", folder) == []
