"""``train_tiny``: from nothing to the bundled checkpoint, one resumable stage after the other."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from videox2l.models.video_xl.checkpoint import save_network
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.training.clips import TokenBank
from videox2l.training.curriculum import STAGES, Stage
from videox2l.training.evaluation import Effort, evaluate
from videox2l.training.files import silent
from videox2l.training.frame_bank import FrameBank, load_or_render_bank
from videox2l.training.language import LanguageTrainer
from videox2l.training.model_card import write_model_card
from videox2l.training.model_config import new_network, raw_config
from videox2l.training.tokenizer import train_tokenizer
from videox2l.training.vision import (
    TokenHeads,
    align_vision,
    alignment_error,
    encode_bank,
    token_accuracy,
    train_vision,
)
from videox2l.video.synthetic import KEYS


@dataclass(frozen=True)
class Setting:
    """How much of everything. The defaults are those of the bundled checkpoint."""

    keys: int = len(KEYS)
    renderings: int = 40
    held_out_renderings: int = 6
    vision_steps: int = 1500
    alignment_steps: int = 700
    stages: tuple[Stage, ...] = STAGES
    effort: Effort = dataclasses.field(default_factory=Effort)


SMOKE = Setting(
    keys=6,
    renderings=2,
    held_out_renderings=1,
    vision_steps=4,
    alignment_steps=2,
    stages=tuple(dataclasses.replace(stage, scenes=(1, 2)) for stage in STAGES),
    effort=Effort(scenes=(4,), clips=1, questions=4, files=0),
)
"""Runs through everything in well under a minute and learns next to nothing: for tests."""

STEPS = 3400
"""Language model steps of the bundled checkpoint."""

_LOG_EVERY_S = 10.0


def train_tiny(
    out: Path,
    *,
    work: Path,
    steps: int = STEPS,
    seed: int = 0,
    setting: Setting | None = None,
    report: Callable[[str], None] = silent,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Train the tiny model into ``out``; a second call with the same ``work`` folder goes on where the first stopped.

    ``steps`` of the language model decide how good it gets. Everything random follows from ``seed``: equal processors,
    library versions and numbers of threads give equal weights, bit for bit. ``report`` gets lines to show,
    ``progress`` after every step the share of the steps done. Returns the evaluation's results.
    """
    setting = setting or Setting()
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer = train_tokenizer()
    raw = raw_config(tokenizer)
    network = new_network(raw)
    report("frame bank: rendering through H.264 (kept for the next run)")
    training = load_or_render_bank(work, renderings=setting.renderings, held_out=False, keys=setting.keys)
    held_out = load_or_render_bank(work, renderings=setting.held_out_renderings, held_out=True, keys=setting.keys)
    vision_accuracy = _vision_stage(network, training, held_out, setting, seed, work, report)
    bank = token_bank(network, training, work / "tokens-training.safetensors")
    trainer = LanguageTrainer(network, tokenizer, bank, steps=steps, seed=seed, folder=work, stages=setting.stages)
    log = TrainingLog(work / "training-log.jsonl", report)

    def on_step(trainer: LanguageTrainer, loss: float) -> None:
        log.on_step(trainer, loss)
        if progress is not None:
            progress(trainer.used)

    trainer.train(on_step)
    round_to_half(network)
    report("evaluation on held-out clips")
    unseen = token_bank(network, held_out, work / "tokens-held-out.safetensors")
    results = evaluate(network, tokenizer, bank, unseen, setting.effort, report=report)
    results["vision"] = vision_accuracy
    results["training"] = {
        "steps": trainer.progress.step,
        "minutes": round(trainer.progress.seconds / 60, 1),
        "seed": seed,
        "threads": torch.get_num_threads(),
        "running_accuracy": {name: round(value, 4) for name, value in sorted(trainer.running.items())},
    }
    export(network, tokenizer, raw, out, results, log.entries())
    return results


@torch.no_grad()
def round_to_half(network: VideoXLNetwork) -> None:
    """Make every weight one that half precision can store, so that what is evaluated is what is shipped."""
    network.eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.copy_(parameter.half())


def export(
    network: VideoXLNetwork,
    tokenizer: PreTrainedTokenizerFast,
    raw: dict[str, Any],
    out: Path,
    results: dict[str, Any] | None = None,
    log: list[dict[str, Any]] | None = None,
) -> None:
    """Write the checkpoint folder; whoever loads from ``out`` meanwhile sees whole files, old or new.

    Weights are stored in half precision, which is exact after :func:`round_to_half`.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as temporary:
        folder = Path(temporary)
        save_network(network, raw, folder)
        half = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
        save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
        tokenizer.save_pretrained(folder)
        if results is not None:
            (folder / "relevance.json").write_text(json.dumps(results["relevance"], indent=1) + "\n")
            (folder / "evaluation.json").write_text(json.dumps(results, indent=1) + "\n")
            write_model_card(folder / "README.md", results)
        if log is not None:
            (folder / "training_log.json").write_text(json.dumps(log) + "\n")
        for path in sorted(folder.iterdir()):
            shutil.copymode(out, path) if path.is_dir() else path.chmod(0o644)
            path.replace(out / path.name)


class TrainingLog:
    """A line every few seconds: to whoever watches, and as JSON to a file that a resumed run appends to."""

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self._path, self._report, self._last = path, report, 0.0

    def on_step(self, trainer: LanguageTrainer, loss: float) -> None:
        now = time.monotonic()
        if now - self._last < _LOG_EVERY_S and trainer.used < 1:
            return
        self._last = now
        progress = trainer.progress
        entry = {
            "step": progress.step,
            "minutes": round(progress.seconds / 60, 2),
            "stage": trainer.stages[progress.stage].name,
            "loss": round(loss, 4),
            "accuracy": {name: round(value, 3) for name, value in sorted(trainer.running.items())},
        }
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        running = "  ".join(f"{name} {value:.2f}" for name, value in sorted(trainer.running.items()))
        self._report(
            f"{100 * trainer.used:5.1f} %  step {progress.step}  loss {loss:.3f}  [{entry['stage']}]  {running}"
        )

    def entries(self) -> list[dict[str, Any]]:
        """Everything logged, thinned to about two hundred lines."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [json.loads(line) for line in lines[:: max(1, len(lines) // 200)]]


def _vision_stage(
    network: VideoXLNetwork,
    training: FrameBank,
    held_out: FrameBank,
    setting: Setting,
    seed: int,
    work: Path,
    report: Callable[[str], None],
) -> dict[str, float]:
    """Train vision, or take what an earlier run trained; returns each head's accuracy on held-out frames."""
    weights, accuracy_file = work / "vision.safetensors", work / "vision-accuracy.json"
    parts = {"vision_tower": network.vision_tower, "projector": network.projector}
    if weights.exists():
        stored = load_file(weights)
        for prefix, module in parts.items():
            start = f"{prefix}."
            module.load_state_dict({k.removeprefix(start): v for k, v in stored.items() if k.startswith(start)})
        accuracy: dict[str, float] = json.loads(accuracy_file.read_text())
        return accuracy

    def on_step(step: int, loss: float) -> None:
        if step % 50 == 0:
            report(f"vision: step {step} of {setting.vision_steps}, loss {loss:.3f}")

    heads: TokenHeads = train_vision(network, training, steps=setting.vision_steps, seed=seed, on_step=on_step)
    accuracy = token_accuracy(network, heads, held_out, frames=4000 if setting.vision_steps > 100 else 50, seed=seed)
    report(f"vision on held-out frames: {accuracy}")
    align_vision(network, training, steps=setting.alignment_steps, seed=seed, on_step=on_step)
    accuracy["alignment error"] = alignment_error(network, held_out, frames=500, seed=seed)
    accuracy_file.write_text(json.dumps(accuracy))
    tensors = {f"{prefix}.{k}": v for prefix, module in parts.items() for k, v in module.state_dict().items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, weights)
    return accuracy


def token_bank(network: VideoXLNetwork, bank: FrameBank, path: Path) -> TokenBank:
    """The bank's visual tokens, encoded once."""
    if not path.exists():
        save_file({"tokens": encode_bank(network, bank).contiguous()}, path)
    return TokenBank(load_file(path)["tokens"], bank.codes_RKS3)
