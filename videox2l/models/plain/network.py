"""Load a stock checkpoint, and see its language model as the causal model that answers questions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    PreTrainedModel,
)
from transformers.utils import logging

from videox2l.errors import CheckpointError, ModelError
from videox2l.models.plain import placement
from videox2l.models.plain.settings import PlainSettings

# RoPE whose frequencies change with a text's length: keys could not be rotated to where they are re-loaded.
_UNSTEADY_ROPE = ("dynamic", "longrope")


def load_config(folder: Path) -> Any:
    """The configuration in ``folder``; no code of the checkpoint is run."""
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        reason = _newer_parts(folder) or str(error)
        raise CheckpointError(f"the configuration in {folder} cannot be used: {reason}") from error


def _newer_parts(folder: Path) -> str:
    """Which parts of a model the installed transformers does not know, in words: its own list them all."""
    raw = json.loads((folder / "config.json").read_text())
    kinds = [part.get("model_type") for part in raw.values() if isinstance(part, dict)]
    unknown = [kind for kind in kinds if isinstance(kind, str) and kind not in CONFIG_MAPPING]
    if not unknown:
        return ""
    return (
        f"transformers {transformers.__version__} does not know its {' and '.join(unknown)}; a newer one may (pip "
        "install --upgrade transformers)"
    )


def load_network(
    folder: Path, *, device: torch.device, dtype: torch.dtype, settings: PlainSettings | None = None
) -> PreTrainedModel:
    """The model in ``folder``, from safetensors only.

    :raises CheckpointError: weights are missing, or are not those of its configuration, or need a package.
    :raises ModelError: ``settings`` ask for what cannot be done here.
    """
    settings = settings or PlainSettings()
    if not list(folder.glob("*.safetensors")):
        raise CheckpointError(f"no *.safetensors in {folder}: weights in pickles (*.bin, *.pth) are not loaded")
    config = load_config(folder)
    stored = _quantisation(config)
    options = placement.options(settings, device, quantised=stored)
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # the command line has its own
    try:
        network, info = AutoModelForImageTextToText.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    except ImportError as error:
        needs = f"its weights are quantised ({stored}), and " if stored else ""
        raise CheckpointError(f"the checkpoint in {folder} cannot be loaded here: {needs}{error}") from error
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(f"the checkpoint in {folder} cannot be loaded: {error}") from error
    finally:
        if shown:
            logging.enable_progress_bar()
    wrong = sorted(info["missing_keys"]) + sorted(map(str, info.get("mismatched_keys", ())))
    if wrong:  # transformers would go on with random numbers
        raise CheckpointError(f"weights are missing in {folder}, or of another shape: {', '.join(wrong[:5])}")
    network = network.eval().requires_grad_(False)
    loaded: PreTrainedModel = network if "device_map" in options else network.to(device)
    return loaded


def _quantisation(config: Any) -> str:
    """How the checkpoint's weights are quantised, in the words of its configuration; nothing if they are not."""
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return ""
    return str(stored.get("quant_method") if isinstance(stored, dict) else stored.quant_method)


def find_language_model(network: Any) -> Any:
    """The language model without its head."""
    return getattr(network.model, "language_model", None) or network.model.text_model


def causal_decoder(network: Any, shell: Callable[[Any], PreTrainedModel]) -> PreTrainedModel:
    """The stock causal language model that shares ``network``'s language model and head.

    ``shell``: as of :class:`~videox2l.models.plain.families.Family`.

    :raises ModelError: its attention or positions are of a kind whose KVs cannot be moved.
    """
    language_model = find_language_model(network)
    config = language_model.config
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") in _UNSTEADY_ROPE or rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ModelError(f"RoPE of type {rope} is not supported: keys could not be rotated to a new position")
    if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise ModelError("a language model with sliding-window attention is not supported")
    with torch.device("meta"):
        decoder: Any = shell(config)
    decoder.model, decoder.lm_head, decoder.config = language_model, network.lm_head, config
    stock: PreTrainedModel = decoder.eval().requires_grad_(False)
    return stock


def stop_ids(folder: Path, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: those of ``generation_config.json``, and the tokenizer's end of text."""
    path = folder / "generation_config.json"
    try:
        named = json.loads(path.read_text()).get("eos_token_id") if path.is_file() else None
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read as a JSON object: {error}") from error
    ids = named if isinstance(named, list) else [named]
    return frozenset(int(token) for token in [*ids, tokenizer.eos_token_id] if token is not None)
