"""DeepSpeed's settings: what a user may say in a JSON file, and what follows from the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videox2l.errors import ConfigError
from videox2l.training.vst.settings import VSTSettings

DEFAULT: Mapping[str, Any] = {"zero_optimization": {"stage": 2}}
"""Gradients and AdamW's moments are shared out among the workers; each has all weights."""

# What follows from --batch, --workers and the settings, whatever a file that is used elsewhere too may say.
_OURS = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping")
# DeepSpeed's own optimizers are compiled for minutes when they are first used, on every machine.
_REFUSED = ("optimizer", "scheduler")


def read_deepspeed(source: str | Path | None) -> dict[str, Any]:
    """A DeepSpeed JSON file, or :data:`DEFAULT`.

    :raises ConfigError: it cannot be read, or says what is not its to say.
    """
    if source is None:
        return dict(DEFAULT)
    path = Path(source)
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the DeepSpeed settings {path}: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path} is not a JSON object, as DeepSpeed's settings are")
    return check_deepspeed(document, str(path))


def check_deepspeed(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """DeepSpeed settings that a run can be given, without those that follow from the run.

    :raises ConfigError: they say what is not theirs to say.
    """
    for key in _REFUSED:
        if key in document:
            raise ConfigError(f"{name}: remove the block {key!r}; the optimizer and its rates follow from the settings")
    if document.get("fp16", {}).get("enabled", False) is True:
        raise ConfigError(f"{name}: fp16 loses small gradients of VSTs without loss scaling; use bf16, or neither")
    zero = document.get("zero_optimization", {})
    if any(zero.get(offload, {}).get("device") == "nvme" for offload in ("offload_optimizer", "offload_param")):
        raise ConfigError(f'{name}: offload to "cpu"; what lies on nvme cannot be gathered into a saved state')
    stage = zero.get("stage", 0)
    if stage not in (1, 2, 3):
        raise ConfigError(f"{name}: zero_optimization.stage must be 1, 2 or 3, got {stage!r}")
    return {key: value for key, value in document.items() if key not in _OURS}


def complete_deepspeed(document: Mapping[str, Any], settings: VSTSettings, workers: int) -> dict[str, Any]:
    """What ``deepspeed.initialize`` is given: the user's settings and what follows from the run's."""
    return {
        # Workers other than those of one machine have no shared file to time, and nobody reads the numbers.
        "wall_clock_breakdown": False,
        "steps_per_print": 2**31 - 1,
        **document,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": settings.batch // workers,
        "gradient_clipping": settings.clip_norm,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }


def half_precision(document: Mapping[str, Any]) -> bool:
    """Whether weights are computed with in bfloat16; what learns then has float32 copies."""
    return document.get("bf16", {}).get("enabled", False) is True
