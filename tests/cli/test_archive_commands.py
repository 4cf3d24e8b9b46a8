"""The commands that keep an archive, on real archives: what they print, what they change, what they refuse."""

from __future__ import annotations

import functools
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import duckdb
import polars
import pytest

from tests.cli.commands import run, run_json
from tests.unit.store.samples import random_chunks, video, write_index
from videox2l.store import Archive, layout

OTHER_SAMPLING = {"sampling": {"fps": 2.0, "frames": None}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An archive of three indexes of two videos."""
    archive = Archive.open(tmp_path / "archive", create=True)
    write_index(archive, random_chunks(12), "long.mp4")
    write_index(archive, random_chunks(3), "short.mp4")
    write_index(archive, random_chunks(5), "short.mp4", **OTHER_SAMPLING)
    return tmp_path / "archive"


def ids(capsys: pytest.CaptureFixture[str], folder: Path) -> list[tuple[str, str]]:
    """Names and indexes that are listed."""
    return [(row["name"], row["index"]) for row in run_json(capsys, "ls", "--archive", folder)]


def leave_attempt(folder: Path) -> list[Path]:
    """What a killed writer leaves, all but committed; its files."""
    before = set(folder.rglob("*.arrow"))
    manifest = write_index(Archive.open(folder), name="killed.mp4")
    (folder / manifest.path).unlink()
    (folder / layout.catalog(manifest.video.video_id, manifest.index_fp)).unlink()
    return sorted(set(folder.rglob("*.arrow")) - before)


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


def spoil(path: Path) -> None:
    """Flip a bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


FILES = [
    "archive.json",
    "models/*.json",
    "catalog/*.parquet",
    "videos/*/*/manifest.json",
    "videos/*/*/attempts/*/prompt.arrow",
    "videos/*/*/attempts/*/low-*.arrow",
    "videos/*/*/attempts/*/high-*.arrow",
]


@pytest.mark.parametrize("pattern", FILES)
@pytest.mark.parametrize("damage", [spoil, Path.unlink])
def test_verify_finds_damage(capsys: pytest.CaptureFixture[str], folder: Path, pattern: str, damage: object) -> None:
    assert run_json(capsys, "verify", "--archive", folder)["ok"]
    path = next(folder.glob(pattern))
    assert callable(damage)
    damage(path)
    expected = str(path.relative_to(folder))
    if not path.exists() and pattern.startswith("catalog"):  # only a cache
        assert run_json(capsys, "verify", "--archive", folder)["ok"]
        return
    if not path.exists() and pattern.endswith("manifest.json"):  # what tells of it is its row
        expected = layout.catalog(*path.parts[-3:-1])
    report = run_json(capsys, "verify", "--archive", folder, code=1)
    assert not report["ok"]
    assert [item["path"] for item in report["damaged"]] == [expected]
    if "attempts" in pattern:
        assert report["damaged"][0]["index"] == path.parts[-4]
    code, out, _ = run(capsys, "verify", "--archive", folder)
    assert code == 1
    assert expected in out
    assert "1 damaged" in out


def test_verify_hints_at_unused_files(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    leave_attempt(folder)
    code, out, _ = run(capsys, "verify", "--archive", folder)
    assert code == 0
    assert "3 files not used" in out
    assert "videox2l gc" in out


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


@pytest.mark.parametrize("damaged", [False, True])
def test_the_catalog_is_a_table_for_others(capsys: pytest.CaptureFixture[str], folder: Path, damaged: bool) -> None:
    if damaged:
        rows = sorted((folder / "catalog").glob("*.parquet"))
        spoil(rows[0])
        rows[1].unlink()
    code, out, _ = run(capsys, "catalog", "--rebuild", "--archive", folder)
    glob = out.strip()
    assert code == 0
    expected = [(row["name"], row["bytes"]["low"]) for row in run_json(capsys, "ls", "--archive", folder)]
    query = f"SELECT name, low_bytes FROM '{glob}'"
    assert sorted(duckdb.sql(query).fetchall()) == sorted(expected)
    assert sorted(polars.read_parquet(glob).select("name", "low_bytes").rows()) == sorted(expected)
    assert run_json(capsys, "catalog", "--archive", folder) == {"glob": glob, "rows": 3, "rebuilt": False}


@pytest.fixture
def http_archive(folder: Path) -> Iterator[str]:
    """The archive on a web server, which takes no writes."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder.parent))
    yield from serve(handler, "/archive")


def serve(handler: object, path: str) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)  # type: ignore[arg-type]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{path}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("command", [["rm", "short.mp4"], ["gc", "--older-than", "0s"], ["retain", "--high", "0s"]])
def test_a_storage_that_takes_no_writes(
    capsys: pytest.CaptureFixture[str], http_archive: str, folder: Path, command: list[str]
) -> None:
    leave_attempt(folder)
    before = sorted(folder.rglob("*"))
    assert len(run_json(capsys, "ls", "--archive", http_archive)) == 3
    code, _, err = run(capsys, *command, "--archive", http_archive)
    assert code == 1
    assert "cannot write" in err
    assert sorted(folder.rglob("*")) == before


def test_ctrl_c(tmp_path: Path) -> None:
    """In the middle of a request that nobody answers."""
    asked, release = threading.Event(), threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.set()
            release.wait(60)

        do_HEAD = do_GET

    for url in serve(Silent, "/archive"):
        command = [sys.executable, "-m", "pipelines.cli", "verify", "--archive", url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert asked.wait(60)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        release.set()
        assert process.returncode == 130
        assert out == ""
        assert "Traceback" not in err


BAD = {
    "no such video": (["show", "lnog.mp4"], "long.mp4"),
    "no archive": (["ls", "--archive", "{tmp}/none"], "no archive"),
    "nothing to verify": (["verify", "--archive", "{tmp}/none"], "no archive"),
    "gc of a folder that is no archive": (["gc", "--archive", "{tmp}"], "no archive"),
    "no time span": (["gc", "--older-than", "soon"], "12h"),
    "retain nothing": (["retain"], "--low 30d"),
    "retain low longer than high": (["retain", "--low", "2y", "--high", "1y"], "--low must not be longer"),
    "no such index": (["rm", "long.mp4", "--index", "ffff"], "has no index ffff"),
    "export over a file": (["export", "long.mp4", "-o", "{tmp}/text"], "exists"),
    "export into nowhere": (["export", "long.mp4", "-o", "{tmp}/none/x"], "cannot export"),
    "import of something else": (["import", "{tmp}/text"], "no file that `videox2l export` wrote"),
    "import of nothing": (["import", "{tmp}/none.zip"], "no file that `videox2l export` wrote"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, case: str) -> None:
    (tmp_path / "text").write_text("text")
    arguments, message = BAD[case]
    given = [part.format(tmp=tmp_path) for part in arguments]
    code, out, err = run(capsys, *given, *([] if "--archive" in given else ["--archive", folder]))
    assert code == 1
    assert out == ""
    assert message in err


def test_import_twice(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    run(capsys, "export", "long.mp4", "-o", tmp_path / "one.zip", "--archive", folder)
    code, _, err = run(capsys, "import", tmp_path / "one.zip", "--archive", folder)
    assert code == 1
    assert "already" in err


COMMANDS = ["ls", "show", "rm", "gc", "du", "retain", "verify", "export", "import", "catalog"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"videox2l {command}" in out.split("Options")[0].split("Usage")[1].partition("\n")[2]
