"""``videox2l batch``: what is wrong with the command is said before Ray starts; exit statuses; a real Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import ray

from pipelines.cli import status
from tests.archives import random_index
from tests.cli.commands import run
from tests.ray_cluster import ray_cluster
from videox2l import Archive
from videox2l.models import KVCompressibleModel

__all__ = ["ray_cluster"]

# Of a machine that does much else, for an interrupted command to end.
PATIENCE_S = 60


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, random_model: KVCompressibleModel) -> Path:
    """Three videos of three chunks."""
    folder = tmp_path_factory.mktemp("batch") / "archive"
    made = Archive.open(folder, create=True)
    for seed, name in enumerate(("cam-1.mp4", "cam-2.mp4", "lecture.mp4")):
        random_index(made, random_model, name, chunks=3, seed=seed)
    return folder


# (arguments, what the message must say); {tmp} is a folder with a table q.csv, {archive} the archive
BAD = {
    "nothing": ([], "give a table of questions and where the answers go"),
    "no answers": (["{tmp}/q.csv"], "give a table of questions and where the answers go"),
    "three tables": (["{tmp}/q.csv", "{tmp}/a.csv", "--questions", "{tmp}/q.csv", "--videos", "*"], "give a table"),
    "questions alone": (["{tmp}/a.csv", "--questions", "{tmp}/q.csv"], "--questions and --videos go together"),
    "videos alone": (["{tmp}/q.csv", "{tmp}/a.csv", "--videos", "*"], "--questions and --videos go together"),
    "no such table": (["{tmp}/none.csv", "{tmp}/a.csv", "--archive", "{archive}"], "there is no table of questions"),
    "another kind of table": (["{tmp}/q.csv", "{tmp}/a.txt", "--archive", "{archive}"], "must end in"),
    "no such chunks": (["{tmp}/q.csv", "{tmp}/a.csv", "--select", "best", "--archive", "{archive}"], "best"),
    "no such policy": (["{tmp}/q.csv", "{tmp}/a.csv", "--policy", "best", "--archive", "{archive}"], "top_k, adaptive"),
    "a limit that depends on the load": (["{tmp}/q.csv", "{tmp}/a.csv", "--budget", "ms=500"], "milliseconds"),
    "no slots": (["{tmp}/q.csv", "{tmp}/a.csv", "--slots", "0"], "--slots"),
    "absurd sampling": (["{tmp}/q.csv", "{tmp}/a.csv", "--top-p", "2"], "top_p"),
    "no archive": (["{tmp}/q.csv", "{tmp}/a.csv", "--archive", "{tmp}/none"], "no archive"),
    "nowhere to write": (["{tmp}/q.csv", "{tmp}/q.csv/a.csv", "--archive", "{archive}"], "may write there"),
}
_STORAGE = {"no archive", "nowhere to write"}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(capsys: pytest.CaptureFixture[str], tmp_path: Path, archive: Path, case: str) -> None:
    arguments, message = BAD[case]
    (tmp_path / "q.csv").write_text("video,question\nlecture.mp4,What?\n")
    connected = ray.is_initialized()
    given = [argument.format(tmp=tmp_path, archive=archive) for argument in arguments]
    code, out, err = run(capsys, "batch", *given)
    assert code == (status.STOPPED if case in _STORAGE else status.WRONG_USAGE), err
    assert message in err
    assert out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["q.csv"]
    assert ray.is_initialized() == connected


def test_exit_statuses_and_what_is_shown(
    capsys: pytest.CaptureFixture[str], ray_cluster: None, random_checkpoint: Path, archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "q.csv").write_text("id,video,question\n007,cam-*.mp4,Who?\n8,lecture.mp4,What?\n9,nowhere.mp4,Why?\n")
    command = ("batch", tmp_path / "q.csv", tmp_path / "a.csv", "--archive", archive, "--model", random_checkpoint)
    command = (*command, "--device", "cpu", "--max-new-tokens", 4)

    code, out, err = run(capsys, *command, "--dry-run")
    assert (code, err) == (status.SOME_FAILED, "")
    assert out.startswith("4 questions about 3 videos; 0 are answered already\nwould read at most high ")
    assert not (tmp_path / "a.csv").exists()

    (tmp_path / "a.csv").write_text("somebody else's")
    code, _, err = run(capsys, *command)
    assert code == status.WRONG_USAGE
    assert "--overwrite" in err
    code, out, err = run(capsys, *command, "--overwrite")
    assert code == status.SOME_FAILED
    assert out.startswith("3 of 4 questions about 3 videos answered in ")
    assert "1 failed: no video 'nowhere.mp4' in the archive." in out
    assert err.splitlines()[-1].startswith("4/4 questions")

    command = ("batch", tmp_path / "b.jsonl", "--questions", tmp_path / "c.csv", "--videos", "cam-*", *command[3:])
    (tmp_path / "c.csv").write_text("question\nIs it open?\nIs it shut?\n")
    assert run(capsys, *command, "--quiet") == (status.DONE, "", "")
    rows = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["video_name"] for row in rows] == ["cam-1.mp4", "cam-2.mp4"] * 2

    code, _, err = run(capsys, *command[:-6], "--model", "none", "--device", "cpu")
    assert code == status.WRONG_USAGE
    assert "none" in err


def test_ctrl_c_keeps_what_is_answered_and_the_same_command_goes_on(
    capsys: pytest.CaptureFixture[str], ray_cluster: None, random_checkpoint: Path, archive: Path, tmp_path: Path
) -> None:
    count = 600  # more than two parts
    rows = "".join(f"{number},lecture.mp4,Question {number}?\n" for number in range(count))
    (tmp_path / "q.csv").write_text(f"id,video,question\n{rows}")
    out, parts = tmp_path / "a.parquet", tmp_path / "a.parquet.parts"
    command = ["batch", tmp_path / "q.csv", out, "--archive", archive, "--model", random_checkpoint, "--device", "cpu"]
    command = [*map(str, command), "--max-new-tokens", "2", "--slots", "1"]
    alone = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=alone,
        start_new_session=True,
    )
    while process.poll() is None and not list(parts.rglob("[0-9a-f]*.parquet")):
        time.sleep(0.02)
    started = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of the command's processes
    shown, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == status.INTERRUPTED, err
    assert f"interrupted. {status.GO_ON}" in err
    assert "Traceback" not in err
    assert shown == ""
    assert len(started) > 1
    assert psutil.wait_procs(started, timeout=PATIENCE_S)[1] == []
    assert not out.exists()
    stored = sum(pq.read_table(part).num_rows for part in parts.rglob("*.parquet"))
    assert 256 <= stored < count

    code, shown, err = run(capsys, *command)
    assert code == status.DONE, err
    assert f"({stored} by an earlier run)" in shown
    found = pq.read_table(out)
    assert found["id"].to_pylist() == [str(number) for number in range(count)]
    assert found["error"].null_count == count
    assert not parts.exists()
