"""The network that a run begins with: a checkpoint's, whose VSTs may be new."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from videox2l.errors import CheckpointError
from videox2l.models.video_xl.checkpoint import checkpoint_name, load_config, load_network, weight_files
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.models.video_xl.prompt import END_OF_TURN
from videox2l.models.video_xl.vst import VSTs
from videox2l.training.language import copy_into_vsts
from videox2l.training.vst.settings import Start

_VST_MARK = "beacon_"
_EMBEDDING = "model.embed_tokens.weight"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt")


def stored_dtype(folder: Path) -> torch.dtype:
    """The type in which a checkpoint keeps its language model's weights.

    :raises CheckpointError: it has none, or they cannot be read.
    """
    for opened in _opened(folder):
        if _EMBEDDING in opened.keys():  # noqa: SIM118 not a dict
            dtype: torch.dtype = opened.get_tensor(_EMBEDDING).dtype
            return dtype
    raise CheckpointError(f"the checkpoint in {folder} has no tensor {_EMBEDDING}")


def has_vsts(folder: Path) -> bool:
    """Whether the checkpoint in ``folder`` knows VSTs at all.

    :raises CheckpointError: its weights cannot be read.
    """
    return any(_VST_MARK in name for opened in _opened(folder) for name in opened.keys())  # noqa: SIM118 not a dict


def _opened(folder: Path) -> Iterator[Any]:
    for file in weight_files(folder):
        try:
            with safe_open(file, "pt") as opened:
                yield opened
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file} is not a readable safetensors file: {error}") from error


def load_start(
    folder: Path, tokenizer: Any, start: Start, *, dtype: torch.dtype, device: torch.device
) -> VideoXLNetwork:
    """The network of the checkpoint in ``folder``, VSTs included; copies of the ordinary projections where it has none.

    :raises CheckpointError: the checkpoint is no Video-XL model, apart from VSTs.
    """
    known = has_vsts(folder)
    with _with_vsts(folder, known) as complete:
        network = load_network(complete, device=device, dtype=dtype)
    if start == "copy" or not known:
        copy_into_vsts(network)
        with torch.no_grad():
            # A token that text ends with has learned to look back over all of it, which is a VST's task too.
            token = tokenizer.convert_tokens_to_ids(END_OF_TURN)
            network.vst.embedding.weight[0] = network.language_model.model.embed_tokens.weight[token]
    return network


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of a checkpoint's tokenizer."""
    return [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()]


@contextmanager
def _with_vsts(folder: Path, known: bool) -> Iterator[Path]:
    """``folder``, or beside links to its files one more with VSTs of zeros, for the loader that insists on them."""
    if known:
        yield folder
        return
    files = weight_files(folder)
    with tempfile.TemporaryDirectory(prefix="videox2l-vst-") as temporary:
        overlay = Path(temporary)
        for file in [*files, folder / "config.json"]:
            (overlay / file.name).symlink_to(file.absolute())
        with torch.device("meta"):
            shapes = VSTs(load_config(folder, files).text).state_dict()
        zeros = {checkpoint_name(f"vst.{name}"): torch.zeros(tensor.shape) for name, tensor in shapes.items()}
        save_file(zeros, overlay / "vst-start.safetensors")
        if (folder / "model.safetensors.index.json").is_file():
            index = json.loads((folder / "model.safetensors.index.json").read_text())
            index["weight_map"] |= dict.fromkeys(zeros, "vst-start.safetensors")
            (overlay / "model.safetensors.index.json").write_text(json.dumps(index))
        yield overlay
