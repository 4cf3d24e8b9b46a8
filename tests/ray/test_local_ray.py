"""Connecting to a cluster that is not there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray

from pipelines.cli import status
from pipelines.local_ray import ClusterNotFoundError, check_answers
from tests.unit.parallel.processes import free_port


def test_a_cluster_that_answers(ray_cluster: None) -> None:
    address = ray.get_runtime_context().gcs_address
    began = time.monotonic()
    check_answers(address, timeout_s=10)
    assert time.monotonic() - began < 10
    check_answers(f"127.0.0.1:{address.rpartition(':')[2]}", timeout_s=10)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "nowhere.invalid:6379", "ray://[::1]"]
)
def test_nothing_answers(ray_cluster: None, address: str) -> None:
    address = address.format(port=free_port())
    with pytest.raises(ClusterNotFoundError) as error:
        check_answers(address, timeout_s=0.3)
    assert f"no Ray cluster answers at {address} within 0.3 s" in str(error.value)


def test_something_else_listens(ray_cluster: None) -> None:
    with socket.create_server((ray.util.get_node_ip_address(), 0)) as other, pytest.raises(ClusterNotFoundError):
        check_answers("{}:{}".format(*other.getsockname()), timeout_s=0.3)


def test_what_ray_finds_out_at_once_is_left_to_it() -> None:
    check_answers("auto", timeout_s=0.1)


def test_a_job_says_so_within_seconds(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("not looked at")
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "ingest",
        tmp_path / "clip.mp4",
        "--archive",
        tmp_path / "archive",
    ]
    environment = os.environ | {"RAY_ADDRESS": f"127.0.0.1:{free_port()}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status.STOPPED
    assert "no Ray cluster answers at 127.0.0.1:" in done.stderr
    assert "Correct RAY_ADDRESS" in done.stderr
    assert "Traceback" not in done.stderr
