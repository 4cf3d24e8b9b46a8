"""Find and load a model by name: the bundled one, a local checkpoint folder, or a Hugging Face hub id."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from videox2l.config import CompressionConfig
from videox2l.errors import CheckpointError, ConfigError, UnknownModelError
from videox2l.models.memory import Workload
from videox2l.models.protocol import KVCompressibleModel
from videox2l.paths import expanded

TINY = "tiny"
"""The bundled checkpoint: toy size, trained on synthetic clips, needs no download."""

TINY_PLAIN = "tiny-plain"
"""Its plain sibling, also bundled: the same world, a stock model of transformers without VSTs."""

TINY_FOLDER = Path(__file__).parent / "tiny" / "checkpoint"
_BUNDLED = {TINY: TINY_FOLDER, TINY_PLAIN: Path(__file__).parent / "tiny_plain" / "checkpoint"}


class Load(Protocol):
    """Load a checkpoint folder of one kind of model."""

    def __call__(self, folder: Path, *, name: str, device: torch.device, dtype: torch.dtype) -> KVCompressibleModel: ...


@dataclass(frozen=True)
class Backend:
    """One kind of model: how to load it, and what is known of a checkpoint in a folder without loading it.

    ``default_compression``: what it is made for. ``workload``: a prefill in a dtype, of so many chunks.
    """

    load: Load
    default_compression: Callable[[Path], CompressionConfig]
    workload: Callable[[Path, CompressionConfig, torch.dtype, int], Workload]


def _video_xl(name: str) -> Backend:
    if "?" in name:
        raise ConfigError(f"{name}: settings behind a ? are for stock models of transformers only")
    from videox2l.models.video_xl.memory import video_xl_workload
    from videox2l.models.video_xl.model import load_video_xl, video_xl_compression

    return Backend(load_video_xl, video_xl_compression, video_xl_workload)


def _plain(name: str) -> Backend:
    from videox2l.models.plain.model import load_plain, plain_compression, plain_workload
    from videox2l.models.plain.settings import parse_settings

    return Backend(load_plain, plain_compression, partial(plain_workload, settings=parse_settings(name)))


# Add a backend: implement models/protocol.py in a folder of its own and name its config.json's model_type here. What it
# needs is imported once a model of its kind is asked for: transformers' model code takes seconds, which processes that
# only plan or store do not have to spend.
BACKENDS: dict[str, Callable[[str], Backend]] = {
    "llava_qwen": _video_xl,
    # Stock models of transformers: the keys of plain/families.py.
    "llava_onevision": _plain,
    "llava_next_video": _plain,
    "internvl": _plain,
    "smolvlm": _plain,
    "qwen2_vl": _plain,
    "qwen2_5_vl": _plain,
    "qwen3_vl": _plain,
}

# What a checkpoint needs. Pickles (*.bin, *.pth) are never fetched, let alone opened.
_HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja")


def load_model(
    name: str = TINY,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    attention: str = "sdpa",
) -> KVCompressibleModel:
    """Load a model for inference.

    ``name`` is ``tiny`` or ``tiny-plain``, a checkpoint folder, or a hub id ``owner/model``, optionally with a
    subfolder (``sy1998/Video_XL/VideoXL_weight_8``). Stock models take settings behind a ``?``
    (:class:`~videox2l.models.plain.settings.PlainSettings`). ``device`` defaults to a GPU if there is one; ``dtype``
    to bfloat16 there and float32 on a CPU. ``attention`` is one of
    :data:`~videox2l.models.video_xl.attention.ATTENTION`. Raises
    :class:`UnknownModelError`, :class:`CheckpointError`, or :class:`ModelError` for an attention that cannot run.
    """
    from videox2l.models.video_xl.attention import use_attention

    chosen_device, chosen_dtype = placement(device, dtype)
    folder = find_checkpoint(name)
    model = _backend(folder, name).load(folder, name=name, device=chosen_device, dtype=chosen_dtype)
    use_attention(model.decoder, attention)
    return model


def placement(device: str | torch.device | None, dtype: str | torch.dtype | None) -> tuple[torch.device, torch.dtype]:
    """Where a model goes, by the rules of :func:`load_model`.

    :raises ConfigError: there is no such device or dtype.
    """
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise ConfigError(f"no device {device!r}: give cpu, cuda, or cuda:1 for the second GPU") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"{device!r} is asked for, but PyTorch {torch.__version__} finds no GPU here")
    return chosen, _dtype(dtype, chosen)


def default_compression(name: str = TINY) -> CompressionConfig:
    """The compression a model is made for, without loading its weights."""
    folder = find_checkpoint(name)
    return _backend(folder, name).default_compression(folder)


def prefill_workload(name: str, compression: CompressionConfig | None, dtype: torch.dtype, chunks: int = 1) -> Workload:
    """A prefill of a video of ``chunks`` on a model whose weights are not loaded, to ask whether it would fit.

    ``compression``: by default the model's own. Errors as of :func:`load_model`.
    """
    folder = find_checkpoint(name)
    backend = _backend(folder, name)
    return backend.workload(folder, compression or backend.default_compression(folder), dtype, chunks)


def _backend(folder: Path, name: str) -> Backend:
    config_path = folder / "config.json"
    if not config_path.is_file():
        raise CheckpointError(f"no config.json in {folder}: is this a checkpoint folder?")
    try:
        config = json.loads(config_path.read_text())
        model_type = config.get("model_type")
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{config_path} cannot be read as a JSON object: {error}") from error
    if model_type not in BACKENDS:
        raise UnknownModelError(
            f"{name} is of model_type {model_type!r}{_why_not(config)}; this version supports "
            f"{', '.join(sorted(BACKENDS))}"
        )
    return BACKENDS[model_type](name)


def _why_not(config: dict[str, Any]) -> str:
    """What is known of a model of no backend, to be put behind its type."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING_NAMES

    model_type = config.get("model_type")
    if "auto_map" in config:
        return f", which runs code of its own repository, and that is never done here. {_converted(model_type)}"
    if model_type not in CONFIG_MAPPING_NAMES:
        saved = config.get("transformers_version")
        by = f", and was saved by {saved}" if isinstance(saved, str) else ""
        return (
            f", which transformers {transformers.__version__} does not know{by}: a newer one may (pip install "
            "--upgrade transformers)"
        )
    if model_type not in VIDEO_PROCESSOR_MAPPING_NAMES:
        return ", a model without video"
    return ", whose positions or frames no backend handles yet"


def _converted(model_type: Any) -> str:
    """What to take in place of a repository with code of its own."""
    twins = {"internvl_chat": "the same model for transformers' own classes, such as OpenGVLab/InternVL3-1B-hf"}
    if model_type in twins:
        return f"Take {twins[model_type]}"
    return (
        "Take a repository of the same model for transformers' own classes (often one with -hf in its name). If there "
        "is none but transformers has such a class: read that code, run it yourself in an environment of its own, copy "
        "its weights into the class and save_pretrained the result as safetensors; that folder is loaded without any "
        "code"
    )


def check_model_name(name: str) -> None:
    """Refuse a name that no machine can have: a path may exist elsewhere, and what is on the hub is seen there.

    :raises UnknownModelError: it is neither bundled, a folder here, a path, nor a hub id.
    """
    bare = name.partition("?")[0]
    if "/" not in bare and bare not in _BUNDLED and local_folder(bare) is None:
        raise _unknown(name)


def _unknown(name: str) -> UnknownModelError:
    return UnknownModelError(
        f"no model {name!r}: give {TINY!r} or {TINY_PLAIN!r} (bundled), an existing checkpoint folder, or a hub id "
        "owner/model"
    )


def find_checkpoint(name: str, *, download: bool = True) -> Path:
    """The local folder of a model, downloaded from the hub where ``name`` is a hub id, unless that is forbidden.

    :raises UnknownModelError: there is no such model.
    """
    name = name.partition("?")[0]  # settings of the plain backend
    if name in _BUNDLED:
        return _BUNDLED[name]
    if (folder := local_folder(name)) is not None:
        return folder
    owner, _, rest = name.partition("/")
    repository, _, subfolder = rest.partition("/")
    if not owner or not repository or name.startswith((".", "/", "~")):
        raise _unknown(name)
    prefix = f"{subfolder}/" if subfolder else ""
    try:
        root = snapshot_download(
            f"{owner}/{repository}",
            allow_patterns=[prefix + pattern for pattern in _HUB_FILES],
            local_files_only=not download,
        )
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        where = "the hub does not give it" if download else f"it was not downloaded before (`hf download {name}`)"
        raise UnknownModelError(f"no local folder {name!r}, and {where}: {error}") from error
    return Path(root) / subfolder


def local_folder(name: str) -> Path | None:
    """The folder of this machine that is called so, if there is one."""
    try:
        folder = expanded(name)
        return folder if folder.is_dir() else None
    except OSError:  # too long for a path
        return None


def _dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    if dtype is None:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if isinstance(dtype, torch.dtype):
        return dtype
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in known:
        raise ConfigError(f"dtype must be one of {', '.join(known)}, got {dtype!r}")
    return known[dtype]
