"""The result of a run: a checkpoint folder that ``load_model`` takes, with a model card that says how it came about."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from videox2l.errors import ConfigError
from videox2l.models.registry import find_checkpoint
from videox2l.models.video_xl.checkpoint import save_network
from videox2l.models.video_xl.model import load_tokenizer
from videox2l.training.vst.module import VSTModule
from videox2l.training.vst.settings import VSTSettings
from videox2l.training.vst.start import load_start, stored_dtype, tokenizer_files
from videox2l.training.vst.state import RunFolder
from videox2l.training.vst.task import VSTJob

_RECORD = "training.json"
# Losses of single steps jump with the ratios drawn; means of so many parts of the run show where it went.
_PARTS = 10


def check_out(out: Path) -> None:
    """Refuse a folder that holds something else than an earlier result, before hours are spent on another one.

    :raises ConfigError: it does.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / _RECORD).is_file())):
        raise ConfigError(f"{out} holds something else than the result of a training run: give another --out folder")


def export_run(job: VSTJob, work: str, out: Path, *, storage_options: Mapping[str, Any] | None = None) -> None:
    """Write the checkpoint of a finished run into ``out``, in the type its base has. An earlier result is replaced.

    Whoever loads from ``out`` meanwhile sees whole files, old or new.

    :raises ConfigError: the run has not made all its steps, or ``out`` holds something else.
    """
    check_out(out)
    state = RunFolder(work, storage_options).load()
    if state is None or state.step < job.settings.steps:
        raise ConfigError(f"the run in {work} has not finished: {0 if state is None else state.step} steps are done")
    base = find_checkpoint(job.model)
    tokenizer = load_tokenizer(base)
    device, dtype = torch.device("cpu"), stored_dtype(base)
    network = load_start(base, tokenizer, job.settings.start, dtype=dtype, device=device)
    parameters = dict(VSTModule(network).named_parameters())
    for name, tensor in state.tensors["weights"].items():
        parameters[name].data.copy_(tensor)
    raw = _config(json.loads((base / "config.json").read_text()), job.settings, network.config.tokens_per_frame)
    record = {**job.document(), "losses": state.losses}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary)
        save_network(network, raw, folder)
        for file in tokenizer_files(base):
            shutil.copyfile(file, folder / file.name)
        (folder / "README.md").write_text(_card(job, record, state.losses))
        (folder / _RECORD).write_text(json.dumps(record, indent=1) + "\n")
        out.mkdir(exist_ok=True)
        for path in sorted(folder.iterdir()):
            path.chmod(0o644)
            path.replace(out / path.name)


def _config(raw: dict[str, Any], settings: VSTSettings, tokens_per_frame: int) -> dict[str, Any]:
    """The base's ``config.json``, with what a base without VSTs does not say."""
    changed = {**raw, "beacon_ratio": sorted(set(settings.ratios) | set(raw.get("beacon_ratio", ())))}
    if settings.frames_per_chunk is not None:
        changed["beacon_window"] = changed["beacon_stride"] = settings.frames_per_chunk * tokens_per_frame
    return changed


def loss_curve(losses: Sequence[float]) -> list[tuple[int, int, float]]:
    """(first step, last step, mean loss) of equal parts of a run."""
    parts = min(_PARTS, len(losses))
    edges = [round(len(losses) * part / parts) for part in range(parts + 1)]
    return [(first + 1, last, sum(losses[first:last]) / (last - first)) for first, last in pairwise(edges)]


def _card(job: VSTJob, record: Mapping[str, Any], losses: Sequence[float]) -> str:
    settings = job.settings
    learned = "VSTs" if settings.trained == "vst" else "VSTs and language model"
    rows = "\n".join(f"| {first}–{last} | {loss:.4f} |" for first, last, loss in loss_curve(losses))
    ratios = ", ".join(map(str, settings.ratios))
    base = Path(job.model).name if Path(job.model).is_dir() else job.model
    return f"""\
---
pipeline_tag: video-text-to-text
tags: [video-x2l]
---

# {base}, with Visual Summarization Tokens trained by Video-X²L

* Base: `{base}`. Its licence goes for this checkpoint too. What learned: {learned}; the rest is the base's.
* Data: `{Path(job.data).name}` (SHA-256 {str(record["data"])[:16]}…).
* {settings.steps} steps of {settings.batch} examples, seed {settings.seed}. Each chunk of a video was compressed at a
  ratio drawn from {ratios}.
* Attention heads that find the right chunk are not calibrated for these weights: questions use all heads.

Mean loss of the answers' tokens, in nats, on the training data:

| steps | loss |
| --- | --- |
{rows}

How well it answers was not measured. `{_RECORD}` has all settings, fingerprints of base and data, and every loss.
"""
