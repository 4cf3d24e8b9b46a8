"""DeepSpeed, imported only where it is used and kept from compiling an operator nobody needs."""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType

import torch

from videox2l.errors import ConfigError


def check_deepspeed() -> None:
    """Without the seconds that importing it takes.

    :raises ConfigError: it is not installed.
    """
    if importlib.util.find_spec("deepspeed") is None:
        raise ConfigError("this needs DeepSpeed: pip install 'videox2l[deepspeed]'")


def import_deepspeed(device: torch.device) -> ModuleType:
    """DeepSpeed, set up for ``device``.

    :raises ConfigError: it is not installed, or was imported for another kind of device before.
    """
    # DeepSpeed would take a GPU that it finds, whatever the device of the model.
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    # It makes this one the current device.
    os.environ["LOCAL_RANK"] = str(device.index or 0)
    check_deepspeed()
    try:
        deepspeed = importlib.import_module("deepspeed")
        operators = importlib.import_module("deepspeed.ops")
    except ImportError as error:
        raise ConfigError(f"this needs DeepSpeed, which does not start: {error}") from error
    found = deepspeed.get_accelerator().device_name()
    if found.split(":")[0] != device.type:
        raise ConfigError(f"DeepSpeed runs on {found}, the model on {device}: set DS_ACCELERATOR={device.type}")
    # Shared-memory collectives for CPUs: every start would compile them for a minute and a half, a start that is killed
    # meanwhile leaves a lock that hangs all later ones, and tensor parallelism then crashes (DeepSpeed 0.19).
    operators.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
