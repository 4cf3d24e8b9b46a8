"""Load and save checkpoints in Video-XL's published layout: safetensors by name, pickles never opened."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding

from videox2l.errors import CheckpointError
from videox2l.models.video_xl.configuration import VideoXLConfig, parse_config
from videox2l.models.video_xl.network import VideoXLNetwork

_VISION = "model.vision_tower.vision_tower.vision_model."
_RENAMES = (  # (name in the checkpoint, name in VideoXLNetwork); everything else belongs to the language model
    (r"model\.beacon_embed_tokens\.weight", r"vst.embedding.weight"),
    (r"model\.layers\.(\d+)\.self_attn\.beacon_([qkv]_proj\.(?:weight|bias))", r"vst.layers.\1.\2"),
    (r"model\.mm_projector\.(.+)", r"projector.\1"),
    (re.escape(_VISION) + r"(.+)", r"vision_tower.\1"),
    (r"((?:model|lm_head)\..+)", r"language_model.\1"),
)
# Derived values that older exports stored beside the weights, and LLaVA's row separator, which video never uses.
_IGNORED = re.compile(r".*\.position_ids|.*\.rotary_emb\.inv_freq|model\.image_newline")


def module_name(checkpoint_name: str) -> str | None:
    """Our module's parameter name for a tensor of the checkpoint; ``None`` where it is not a weight."""
    if _IGNORED.fullmatch(checkpoint_name):
        return None
    for pattern, replacement in _RENAMES:
        if re.fullmatch(pattern, checkpoint_name):
            return re.sub(pattern, replacement, checkpoint_name)
    return checkpoint_name


def checkpoint_name(name: str) -> str:
    """The inverse of :func:`module_name`."""
    part, rest = name.split(".", 1)
    if part == "vst":
        if rest == "embedding.weight":
            return "model.beacon_embed_tokens.weight"
        _, layer, projection = rest.split(".", 2)
        return f"model.layers.{layer}.self_attn.beacon_{projection}"
    return {"projector": "model.mm_projector.", "vision_tower": _VISION, "language_model": ""}[part] + rest


def weight_files(folder: Path) -> list[Path]:
    """The checkpoint's safetensors files, by its index where it has one.

    Raises :class:`CheckpointError` where there are none (naming the pickles that are not opened) or shards are missing.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(_read_json(index).get("weight_map", {}).values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(f"{folder} lacks shards that its index names: {', '.join(missing)}")
        return [folder / name for name in names]
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = sorted(path.name for pattern in ("*.bin", "*.pth", "*.pt") for path in folder.glob(pattern))
        hint = f" (it has {', '.join(pickles)}: pickles can run code and are never opened)" if pickles else ""
        raise CheckpointError(f"no .safetensors file in {folder}{hint}; convert the weights to safetensors")
    return files


def load_network(folder: Path, *, device: torch.device, dtype: torch.dtype) -> VideoXLNetwork:
    """Build the network of the checkpoint in ``folder`` and fill every weight, shard by shard.

    Raises :class:`CheckpointError` listing missing, unexpected or misshapen tensors.
    """
    files = weight_files(folder)
    config = load_config(folder, files)
    with torch.device("meta"):
        network = VideoXLNetwork(config)
    wanted = network.state_dict()
    if config.text.tie_word_embeddings:
        wanted.pop("language_model.lm_head.weight")
    seen: set[str] = set()
    unexpected: list[str] = []
    for file in files:
        shard = {}
        for stored, tensor in _tensors(file):
            name = module_name(stored)
            if name is None or (name == "language_model.lm_head.weight" and name not in wanted):
                continue
            if name not in wanted:
                unexpected.append(stored)
            elif tensor.shape != wanted[name].shape:
                shapes = f"{tuple(tensor.shape)}, config.json says {tuple(wanted[name].shape)}"
                raise CheckpointError(f"{file.name}: {stored} has shape {shapes}")
            else:
                shard[name] = tensor.to(device=device, dtype=dtype)
        network.load_state_dict(shard, strict=False, assign=True)
        seen |= shard.keys()
    _refuse_differences([checkpoint_name(name) for name in wanted.keys() - seen], unexpected, folder)
    network.language_model.tie_weights()
    rebuild_buffers(network, device)
    return network.eval().requires_grad_(False)


def save_network(network: VideoXLNetwork, raw_config: Mapping[str, Any], folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` in the published layout (one shard)."""
    folder.mkdir(parents=True, exist_ok=True)
    state = network.state_dict()
    if network.config.text.tie_word_embeddings:
        state.pop("language_model.lm_head.weight")
    tensors = {checkpoint_name(name): tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(dict(raw_config), indent=1, sort_keys=True) + "\n")


def load_config(folder: Path, files: Iterable[Path]) -> VideoXLConfig:
    """Read ``config.json``; the vision tower's configuration comes from it or from the weights' shapes."""
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"no config.json in {folder}: is this a checkpoint folder?")
    raw = _read_json(path)
    return parse_config(raw, vision_config(raw, files))


def vision_config(raw: Mapping[str, Any], files: Iterable[Path]) -> CLIPVisionConfig:
    """The CLIP tower's configuration: ``vision_config`` of ``config.json``, else read off the weights' shapes.

    Published checkpoints hold CLIP's weights but only a path of their authors' machine in place of its configuration.
    Heads are ``hidden / 64`` and the activation is quick GELU, as in every OpenAI CLIP.
    """
    if "vision_config" in raw:
        return CLIPVisionConfig(**raw["vision_config"])
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        with _open(file) as opened:
            names = [name for name in opened.keys() if name.startswith(_VISION)]  # noqa: SIM118 not a dict
            shapes |= {name.removeprefix(_VISION): tuple(opened.get_slice(name).get_shape()) for name in names}
    try:
        hidden, _, patch, _ = shapes["embeddings.patch_embedding.weight"]
        positions, _ = shapes["embeddings.position_embedding.weight"]
        intermediate, _ = shapes["encoder.layers.0.mlp.fc1.weight"]
    except KeyError as missing:
        raise CheckpointError(f"the checkpoint has no vision tower: {_VISION}{missing.args[0]} is missing") from None
    layers = len({name.split(".")[2] for name in shapes if name.startswith("encoder.layers.")})
    return CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 64),
        patch_size=patch,
        image_size=round((positions - 1) ** 0.5) * patch,
        hidden_act="quick_gelu",
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} is not a JSON object")
    return document


def _tensors(file: Path) -> Iterator[tuple[str, torch.Tensor]]:
    with _open(file) as opened:
        for name in opened.keys():  # noqa: SIM118 not a dict
            yield name, opened.get_tensor(name)


@contextmanager
def _open(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, "pt") as opened:
            yield opened
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is not a readable safetensors file: {error}") from error


def _refuse_differences(missing: list[str], unexpected: list[str], folder: Path) -> None:
    if not missing and not unexpected:
        return
    lines = [f"the tensors in {folder} are not those of a Video-XL model of its config.json"]
    for title, names in (("missing", missing), ("unexpected", unexpected)):
        lines += [f"  {title}: {name}" for name in sorted(names)]
    raise CheckpointError("\n".join(lines))


def rebuild_buffers(network: nn.Module, device: torch.device) -> None:
    """Compute the buffers that no checkpoint stores; building on the meta device left them without values."""
    for module in network.modules():
        if isinstance(module, Qwen2RotaryEmbedding):
            module.__init__(module.config)
            module.to(device)
        elif isinstance(module, CLIPVisionEmbeddings):
            module.position_ids = torch.arange(module.num_positions, device=device)[None]
