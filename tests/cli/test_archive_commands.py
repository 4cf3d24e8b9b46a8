"""What the commands that keep an archive have in common: what they refuse, and that they can be stopped."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cli.archives import leave_attempt
from tests.cli.commands import run, run_json


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


COMMANDS = ["ls", "show", "rm", "gc", "du", "retain", "verify", "export", "import", "catalog"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"videox2l {command}" in out.split("Options")[0].split("Usage")[1].partition("\n")[2]
