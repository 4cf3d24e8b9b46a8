"""Starting and stopping: what is checked before Ray starts, and that nothing is left behind."""

from __future__ import annotations

import inspect
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from pipelines.serve import build_app, start_service
from pipelines.serve.config import ServiceConfig
from pipelines.serve.service import check
from tests.checkpoints import write_random_checkpoint
from tests.serve.client import Client
from videox2l.errors import ArchiveNotFoundError, ConfigError, FingerprintMismatchError, UnknownModelError
from videox2l.store import Archive

ROOT = Path(__file__).parents[2]


def test_serve_can_parse_a_configuration_file_into_the_config() -> None:
    [parameter] = inspect.signature(build_app).parameters.values()
    assert parameter.annotation is ServiceConfig  # the class, not its name


def test_no_archive(tmp_path: Path) -> None:
    with pytest.raises(ArchiveNotFoundError, match="is no archive"):
        start_service(str(tmp_path / "nowhere"))


def test_no_model(archive: Archive) -> None:
    with pytest.raises(UnknownModelError, match="no model"):
        start_service(archive.url, model="./nowhere")


def test_another_model_than_the_archives(archive: Archive, tmp_path: Path) -> None:
    stranger = write_random_checkpoint(tmp_path / "stranger", seed=5)
    with pytest.raises(FingerprintMismatchError, match=r"none of the \d+ videos"):
        start_service(archive.url, model=str(stranger))


def test_a_port_that_is_taken(archive: Archive, random_checkpoint: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="cannot listen"):
            start_service(archive.url, model=str(random_checkpoint), port=taken.getsockname()[1])


def test_relative_paths_become_absolute(
    archive: Archive, random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(random_checkpoint.parent)
    config = check(ServiceConfig(archive_url=os.path.relpath(archive.url), model=random_checkpoint.name))
    assert Path(config.archive_url).is_absolute()
    assert Path(config.archive_url).samefile(archive.url)
    assert config.model == str(random_checkpoint)
    assert config.served_name == random_checkpoint.name


# Ray of its own, twice: ten seconds each on a quiet machine, minutes on a busy one.
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds its processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_leaves_nothing(archive: Archive, random_checkpoint: Path, number: signal.Signals) -> None:
    mark = uuid.uuid4().hex
    code = "import sys; from pipelines.serve import run; run(sys.argv[1], model=sys.argv[2], port=0)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, archive.url, str(random_checkpoint)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "VIDEOX2L_TEST": mark},
    )
    assert process.stdout is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found
        assert len(marked(mark)) > 3  # this process, GCS, raylet, workers
        client = Client(found[0], random_checkpoint.name)
        assert client.ask("What happens?", max_tokens=1).status == 200
        # Without keys only this machine is served, and nothing is taken away.
        assert client.get("/v1/models", Host="evil.example:80").status == 421
        assert client.get("/v1/models", Host="localhost:80").status == 200
        assert client.delete("/v1/videos/kitchen.mp4").status == 403
        process.send_signal(number)
        process.communicate(timeout=120)
        assert process.returncode == 0
    finally:
        process.kill()
    # Ray's workers notice the end of their raylet by themselves, after the driver has left.
    deadline = time.monotonic() + 60
    while left := marked(mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def marked(mark: str) -> list[str]:
    """Command lines of all processes that inherited ``mark`` in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is someone else's
            if f"VIDEOX2L_TEST={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found
