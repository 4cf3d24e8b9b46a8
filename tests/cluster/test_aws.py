"""The cluster for ``ray up``: what Ray's launcher would make of it. Nothing is started."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster import test_kubernetes
from tests.cluster.files import CLUSTER, document
from tests.cluster.test_images import run

FILE = CLUSTER / "aws" / "cluster.yaml"
TYPES: dict[str, Any] = document(FILE)["available_node_types"]


@pytest.fixture
def prepared() -> dict[str, Any]:
    """With all defaults, as the launcher sees it."""
    return dict(prepare_config(document(FILE)))


def test_ray_accepts_it(prepared: dict[str, Any]) -> None:
    validate_config(prepared)


def test_rays_own_setup_does_not_sneak_in(prepared: dict[str, Any]) -> None:
    # It would install a nightly build of Ray.
    commands = [*prepared["head_setup_commands"], *prepared["worker_setup_commands"]]
    assert set(commands) == set(document(FILE)["setup_commands"])


def test_node_types() -> None:
    assert set(TYPES) == {"head", "decode", "prefill"}
    assert TYPES["head"]["resources"] == {"CPU": 0}
    assert set(TYPES["decode"]["resources"]) == {"CPU"}
    # An actor takes a GPU and a CPU; more CPUs would draw decoders onto the machine.
    assert TYPES["prefill"]["resources"] == {"CPU": 1, "GPU": 1}
    assert TYPES["prefill"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    for name in ("decode", "prefill"):
        assert TYPES[name]["min_workers"] == 0
        # Without it a machine could not read a bucket: Ray gives one only to the head.
        assert TYPES[name]["node_config"]["IamInstanceProfile"] == TYPES["head"]["node_config"]["IamInstanceProfile"]
    assert document(FILE)["max_workers"] == sum(TYPES[name].get("max_workers", 0) for name in TYPES)


def test_the_machines_may_pass_on_their_role() -> None:
    statements = json.loads((CLUSTER / "aws" / "access.json").read_text())["Statement"]
    passed = next(statement["Resource"] for statement in statements if statement["Action"] == "iam:PassRole")
    assert passed.endswith(f":role/{TYPES['head']['node_config']['IamInstanceProfile']['Name']}")


def test_as_large_as_on_kubernetes() -> None:
    for name in ("decode", "prefill"):
        group = test_kubernetes.GROUPS["ingest", name]
        assert TYPES[name]["max_workers"] == group["maxReplicas"]
        cpus = group["rayStartParams"].get("num-cpus", test_kubernetes.container(group)["resources"]["limits"]["cpu"])
        assert TYPES[name]["resources"]["CPU"] == int(cpus)


def test_setup_runs_our_scripts() -> None:
    commands = "\n".join(document(FILE)["setup_commands"])
    calls = re.findall(r"~/videox2l/cluster/images/(install-\w+\.sh)([^\n;&]*)", commands)
    assert [script for script, _ in calls] == ["install-system.sh", "install-python.sh"]
    for script, options in calls:
        run(script, "--dry-run", *shlex.split(options))
    (venv,) = set(re.findall(r"~/(\S+-env)$", calls[1][1]))
    assert f"export PATH=$HOME/{venv}/bin:$PATH" in commands


def test_the_package_is_copied_whole() -> None:
    mounts = document(FILE)["file_mounts"]
    assert mounts["~/videox2l"] == "."
    for pattern in document(FILE)["rsync_exclude"]:
        # Without a leading slash rsync leaves out what has the name anywhere, such as pipelines/demo.
        assert pattern.startswith(("/", "**/"))
        assert Path(pattern).name not in {"videox2l", "pipelines", "cluster", "constraints.txt"}
