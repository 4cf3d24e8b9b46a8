"""Where a stock model's weights go and how its layers run: device maps, int8 weights, ``torch.compile``."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from typing import Any

import torch

from videox2l.errors import ConfigError, ModelError
from videox2l.models.plain.settings import PlainSettings
from videox2l.paths import expanded

# Regular expressions of all modules but the language model's layers: they are small, or see raw pixels.
_NOT_ROUNDED = [r"model\.(?!language_model\.|text_model\.).*", "lm_head"]

# Ways of quantisation that are called as the package they need. Others, transformers names the package of.
_PACKAGES = ("bitsandbytes", "torchao")

# Graphs a layer may have: with and without a cache, a mask, one token or many, in and out of a prefill. PyTorch's own
# limit, 8, is for code whose inputs do not change.
_GRAPHS = 64


def options(settings: PlainSettings, device: torch.device, *, quantised: str) -> dict[str, Any]:
    """What ``from_pretrained`` is told beyond the usual; ``quantised`` says how the stored weights are, if at all.

    :raises ModelError: a package is missing, or the weights are quantised already.
    """
    found: dict[str, Any] = {}
    if quantised in _PACKAGES:
        _need(quantised, f"a checkpoint whose weights are quantised ({quantised})")
    if settings.device_map:
        _need("accelerate", "a device_map")
        found["device_map"] = _device_map(settings.device_map)
    elif quantised and quantised != "torchao":  # such weights are not moved once they are loaded
        _need("accelerate", f"a checkpoint whose weights are quantised ({quantised})")
        found["device_map"] = {"": device}
    if settings.weights == "int8":
        if quantised:
            raise ModelError(f"weights=int8: these weights are quantised already ({quantised})")
        _need("torchao", "weights=int8")
        from torchao.quantization import Int8WeightOnlyConfig
        from transformers import TorchAoConfig

        found["quantization_config"] = TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=_NOT_ROUNDED)
    return found


def check_map(language_model: Any, head: Any, device: torch.device) -> None:
    """Whether KVs of one device suit the placement that a device map led to.

    :raises ModelError: layers run on several devices, or weights outside of layers are not in memory.
    """
    devices = {_runs_on(layer) for layer in language_model.layers}
    if len(devices) > 1:
        raise ModelError(
            f"the device map lets the language model's layers run on {', '.join(sorted(map(str, devices)))}: a video's "
            "KVs are kept on one device. Give a map with all of them on one, or offloaded to cpu or disk"
        )
    outside = [
        p.device for module in (language_model.embed_tokens, language_model.norm, head) for p in module.parameters()
    ]
    if any(found.type == "meta" for found in outside):
        raise ModelError("the device map offloads the language model's embeddings, norm or head: keep them in memory")
    if any(found.type != device.type for found in (*devices, *outside)):
        raise ModelError(f"the device map puts the language model on {outside[0]}, but {device} is asked for")


def compile_layers(decoder: Any, device: torch.device) -> None:
    """Let the decoder's layers run through ``torch.compile``; each is compiled when it first runs.

    :raises ModelError: there is no compiler for ``device``.
    """
    if device.type == "cuda":
        _need("triton", "compile=true on a GPU")
    else:
        compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if shutil.which(compiler) is None:
            raise ModelError(
                f"compile=true needs a C++ compiler on a CPU, and there is no {compiler}: install one (apt install "
                "g++), or name it in the environment variable CXX"
            )
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _GRAPHS)
    for layer in decoder.base_model.layers:
        layer.compile(dynamic=True)


def _device_map(name: str) -> Any:
    if not name.endswith(".json"):
        return name
    try:
        placed = json.loads(expanded(name).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"the device map {name} cannot be read as JSON: {error}") from error
    if not isinstance(placed, dict):
        raise ConfigError(f"the device map {name} must be an object of modules and devices")
    return placed


def _runs_on(layer: Any) -> torch.device:
    hook = getattr(layer, "_hf_hook", None) or getattr(layer.self_attn.q_proj, "_hf_hook", None)
    where = getattr(hook, "execution_device", None)
    if where is None:
        found: torch.device = next(layer.parameters()).device
        return found
    return torch.device("cuda", where) if isinstance(where, int) else torch.device(where)


def _need(package: str, what: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ModelError(f"{what} needs the package {package}, which is missing: pip install {package}")
