"""The DeepSpeed settings are what DeepSpeed 0.19 reads, and what their names say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.files import CLUSTER

SETTINGS = {path.stem: path for path in sorted((CLUSTER / "deepspeed").glob("*.json"))}
STAGES = {"zero2-training": 2, "zero3-training": 3, "zero3-inference-offload": 3}


@pytest.fixture(scope="module")
def deepspeed_config() -> Any:
    import deepspeed.ops

    # On a CPU DeepSpeed would compile this operator, for minutes, when it is first used.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    from deepspeed.runtime.config import DeepSpeedConfig

    return DeepSpeedConfig


def test_every_file_is_looked_at() -> None:
    assert set(SETTINGS) == set(STAGES)


@pytest.mark.parametrize("name", SETTINGS)
def test_deepspeed_reads_it(name: str, deepspeed_config: Any) -> None:
    config = deepspeed_config(str(SETTINGS[name]))
    assert config.zero_config.stage == STAGES[name]
    assert config.bfloat16_config.enabled
    assert not config.float16_config.enabled
    # The operators for one would be compiled where they are not prebuilt; torch has optimizers.
    assert config.optimizer_name is None
    assert config.zero_allow_untested_optimizer == ("training" in name)
    offload = config.zero_config.offload_param
    assert (offload is not None and offload.device == "cpu") == name.endswith("offload")


@pytest.mark.parametrize("name", SETTINGS)
def test_deepspeed_knows_every_key(name: str, deepspeed_config: Any) -> None:
    # It refuses unknown keys below `zero_optimization`, and passes over those beside it.
    known = set(known_keys())
    assert set(json.loads(SETTINGS[name].read_text())) <= known
    assert "gradient_cliping" not in known


def known_keys() -> list[str]:
    import deepspeed.runtime.constants
    import deepspeed.runtime.zero.config

    modules = (deepspeed.runtime.constants, deepspeed.runtime.precision_config, deepspeed.runtime.zero.config)
    return [value for module in modules for value in vars(module).values() if isinstance(value, str)]


def test_an_unknown_key_of_zero_is_refused(deepspeed_config: Any, tmp_path: Path) -> None:
    settings = json.loads(SETTINGS["zero3-training"].read_text())
    settings["zero_optimization"]["overlap_com"] = True
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="overlap_com"):
        deepspeed_config(str(path))
