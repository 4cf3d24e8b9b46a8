"""A real Ceph RADOS Gateway, one for the whole session: one monitor, one OSD in memory, one gateway.

Its daemons are children of this process, in the foreground, and the kernel ends them when their parent dies. So
nothing stays behind, even when the tests are killed. ``install_ceph.sh`` installs the programs.
"""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
import s3fs

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "ceph", "radosgw-admin", "monmaptool", "ceph-authtool")

# The OSD keeps all objects in memory. Archives of tests and 64 MiB of a benchmark need far less.
_STORE_BYTES = 2 * 2**30

# A start takes 10 s on an idle machine of two cores.
_START_S = 120.0

_CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}]
mon initial members = a
public network = 127.0.0.0/8
keyring = {folder}/keyring
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
crash dir = {folder}
ms bind ipv6 = false
mon data avail crit = 1
mon allow pool size one = true
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = {store_bytes}
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
[client.rgw]
keyring = {folder}/keyring
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port}
"""


@dataclass(frozen=True)
class Ceph:
    """A running gateway: its URL and the keys of its one user."""

    url: str
    key: str = "test-key"
    secret: str = "test-secret"

    def client(self) -> boto3.client:
        """A plain S3 client, for what the store does not do, such as making buckets."""
        keys = {"aws_access_key_id": self.key, "aws_secret_access_key": self.secret}
        return boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", **keys)

    def set_environment(self, patch: pytest.MonkeyPatch, url: str | None = None) -> None:
        """Set the variables that a user would set; ``url``: of a proxy in front."""
        patch.setenv("AWS_ENDPOINT_URL", url or self.url)
        patch.setenv("AWS_ACCESS_KEY_ID", self.key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", self.secret)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # A file system made under another environment must not be found again.
        s3fs.S3FileSystem.clear_instance_cache()


def missing() -> list[str]:
    """Programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Ceph]:
    """Start Ceph with its state in ``folder`` and end it again.

    :raises RuntimeError: a program failed; the message has its output.
    """
    mon_port, port = _free_ports(2)
    fsid = str(uuid.uuid4())
    config = folder / "ceph.conf"
    config.write_text(_CONFIG.format(folder=folder, fsid=fsid, mon_port=mon_port, port=port, store_bytes=_STORE_BYTES))
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()
    monmap, ceph = str(folder / "monmap"), ("ceph", "-c", str(config), "--connect-timeout", "30")
    mon = ("ceph-mon", "-c", str(config), "-i", "a")
    osd = ("ceph-osd", "-c", str(config), "-i", "0")
    with ExitStack() as stack:
        _call("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", monmap)
        _call(*mon, "--mkfs", "--monmap", monmap, "--keyring", _keyring(folder))
        stack.enter_context(_daemon(folder, *mon))
        osd_id = str(uuid.uuid4())
        _call(*ceph, "osd", "new", osd_id)
        _call(*osd, "--mkfs", "--osd-uuid", osd_id)
        _call(*ceph, "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=localhost")
        stack.enter_context(_daemon(folder, *osd))
        gateway = stack.enter_context(_daemon(folder, "radosgw", "-c", str(config), "-n", "client.rgw"))
        server = Ceph(f"http://127.0.0.1:{port}")
        _wait_until_it_answers(server.url, gateway, folder)
        keys = ("--access-key", server.key, "--secret-key", server.secret)
        _call("radosgw-admin", "-c", str(config), "user", "create", "--uid=test", "--display-name=test", *keys)
        yield server


@pytest.fixture(scope="session")
def ceph_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """The session's gateway. Tests that need it are skipped where Ceph is not installed."""
    if lacking := missing():
        pytest.skip(f"Ceph is not installed (no {', '.join(lacking)}); tests/s3/install_ceph.sh installs it")
    with running(tmp_path_factory.mktemp("ceph")) as server:
        yield server


@pytest.fixture
def ceph(ceph_server: Ceph, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ceph]:
    """The gateway, with the environment set as a user would set it."""
    ceph_server.set_environment(monkeypatch)
    yield ceph_server
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def ceph_bucket(ceph: Ceph) -> str:
    """An empty bucket of the test's own, as ``s3://…``."""
    name = f"test-{uuid.uuid4().hex}"
    ceph.client().create_bucket(Bucket=name)
    return f"s3://{name}"


def _keyring(folder: Path) -> str:
    """One file with the keys of all daemons, each of which may do anything."""
    path = str(folder / "keyring")
    for index, name in enumerate(("mon.", "client.admin", "client.rgw", "osd.0")):
        caps = [word for service in ("mon", "osd", "mgr") for word in ("--cap", service, "allow *")]
        _call("ceph-authtool", *(["--create-keyring"] if index == 0 else []), path, "--gen-key", "-n", name, *caps)
    return path


@contextlib.contextmanager
def _daemon(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{command[0]}.out").open("wb") as output:
        process = subprocess.Popen(
            [*command, "-f"], stdout=output, stderr=subprocess.STDOUT, preexec_fn=_end_with_parent
        )
    try:
        yield process
    finally:
        process.kill()  # its state goes with the temporary folder, so there is nothing to save
        process.wait()


# Loaded before the fork: between fork and exec, only what is already there may be used.
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _call(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_START_S)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with status {done.returncode}:\n{done.stdout}")


def _wait_until_it_answers(url: str, gateway: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and gateway.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"The gateway did not start:\n{(folder / 'radosgw.out').read_text()}")


def _free_ports(count: int) -> Sequence[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]
