"""``videox2l export`` and ``import``: a video on its way from one archive to another."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.archives import ids
from tests.cli.commands import run, run_json
from tests.unit.store.samples import video


def test_a_video_moves_as_one_file(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one.zip", tmp_path / "other"
    size = run_json(capsys, "export", "long.mp4", "-o", one, "--archive", folder)["bytes"]
    assert size == one.stat().st_size
    assert run_json(capsys, "import", one, "--archive", other)["id"] == video("long.mp4").video_id
    assert run_json(capsys, "verify", "--archive", other)["ok"]
    here, there = (run_json(capsys, "show", "long.mp4", "--archive", place) for place in (folder, other))
    assert here == there


def test_export_of_one_of_several(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    code, _, err = run(capsys, "export", "short.mp4", "-o", tmp_path / "one.zip", "--archive", folder)
    assert code == 1
    assert "sampling.fps" in err
    wanted = ids(capsys, folder)[1][1]
    found = run_json(
        capsys, "export", "short.mp4", "--index", wanted[:6], "-o", tmp_path / "one.zip", "--archive", folder
    )
    assert found["index"] == wanted


def test_import_twice(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    run(capsys, "export", "long.mp4", "-o", tmp_path / "one.zip", "--archive", folder)
    code, _, err = run(capsys, "import", tmp_path / "one.zip", "--archive", folder)
    assert code == 1
    assert "already" in err


@pytest.mark.parametrize("name", ["absent.zip", "text"])
def test_import_of_nothing_leaves_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    (tmp_path / "text").write_text("text")
    code, _, err = run(capsys, "import", tmp_path / name, "--archive", tmp_path / "new")
    assert code == 1
    assert name in err
    assert not (tmp_path / "new").exists()
