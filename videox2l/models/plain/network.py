"""Load a stock checkpoint, and see its language model as the causal model that answers questions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    PreTrainedModel,
)
from transformers.utils import logging

from videox2l.errors import CheckpointError, ModelError

# RoPE whose frequencies change with a text's length: keys could not be rotated to where they are re-loaded.
_UNSTEADY_ROPE = ("dynamic", "longrope")


def load_config(folder: Path) -> Any:
    """The configuration in ``folder``; no code of the checkpoint is run."""
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise CheckpointError(f"the configuration in {folder} cannot be used: {error}") from error


def load_network(folder: Path, *, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """The model in ``folder``, from safetensors only.

    :raises CheckpointError: weights are missing, or are not those of its configuration.
    """
    if not list(folder.glob("*.safetensors")):
        raise CheckpointError(f"no *.safetensors in {folder}: weights in pickles (*.bin, *.pth) are not loaded")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # the command line has its own
    try:
        network, info = AutoModelForImageTextToText.from_pretrained(
            folder,
            config=load_config(folder),
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(f"the checkpoint in {folder} cannot be loaded: {error}") from error
    finally:
        if shown:
            logging.enable_progress_bar()
    wrong = sorted(info["missing_keys"]) + sorted(map(str, info.get("mismatched_keys", ())))
    if wrong:  # transformers would go on with random numbers
        raise CheckpointError(f"weights are missing in {folder}, or of another shape: {', '.join(wrong[:5])}")
    loaded: PreTrainedModel = network.eval().requires_grad_(False).to(device)
    return loaded


def causal_decoder(network: Any, shell: Callable[[Any], PreTrainedModel]) -> PreTrainedModel:
    """The stock causal language model that shares ``network``'s language model and head.

    ``shell``: as of :class:`~videox2l.models.plain.families.Family`.

    :raises ModelError: its attention or positions are of a kind whose KVs cannot be moved.
    """
    language_model = network.model.language_model
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
