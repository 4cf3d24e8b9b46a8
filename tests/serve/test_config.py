from __future__ import annotations

import pytest
import yaml

from pipelines.serve.config import ServiceConfig, read_assignments
from tests.cli.commands import run
from videox2l.errors import ConfigError


def test_assignments_are_values_as_in_yaml() -> None:
    found = read_assignments(["low_deadline_s=2.5", "without_keys=true", "cache_folder=null", "model_name=a=b"])
    assert found == {"low_deadline_s": 2.5, "without_keys": True, "cache_folder": None, "model_name": "a=b"}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("low_deadline_s", "not NAME=VALUE"),
        ("deadline=2", "low_deadline_s"),  # the known ones are listed
        ("replicas={", "replicas: '{' cannot be read"),
    ],
)
def test_what_is_no_assignment(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_assignments([assignment])


def test_every_impossible_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"replicas: .*concurrency: .*nothing: "):
        ServiceConfig.read("archive", {"replicas": 0, "concurrency": "many", "nothing": 1})
    with pytest.raises(ConfigError, match="must not be below replicas"):
        ServiceConfig.read("archive", {"replicas": 3, "autoscale_to": 2})


def test_the_command_line_sets_any(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "serve", "--print-config", "--set", "resident_bytes=7", "--set", "low_deadline_s=2")
    [application] = yaml.safe_load(out)["applications"]
    assert code == 0
    assert (application["args"]["resident_bytes"], application["args"]["low_deadline_s"]) == (7, 2.0)
    code, _, err = run(capsys, "serve", "--print-config", "--set", "resident_bytes=-1")
    assert (code, "resident_bytes" in err) == (1, True)
