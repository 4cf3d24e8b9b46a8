"""``train_plain``: the tiny model's plain sibling, a stock video model of transformers that knows the same world.

It starts from the tiny model, whose vision it keeps, and goes on with the same clips and questions over uncompressed
memories only. So nothing in it was made for compression: what a compressor leaves of it is the compressor's doing.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from videox2l.models.registry import TINY_FOLDER
from videox2l.models.video_xl.checkpoint import load_network
from videox2l.training.curriculum import PLAIN_STAGES, Stage
from videox2l.training.files import silent
from videox2l.training.frame_bank import load_or_render_bank
from videox2l.training.language import LanguageTrainer
from videox2l.training.plain_card import write_plain_card
from videox2l.training.plain_evaluation import Effort, calibrated_heads, evaluate_plain
from videox2l.training.plain_export import save_stock
from videox2l.training.run import TrainingLog, round_to_half, token_bank
from videox2l.video.synthetic import KEYS


@dataclass(frozen=True)
class PlainSetting:
    """How much of everything. The defaults are those of the bundled checkpoint."""

    keys: int = len(KEYS)
    renderings: int = 40
    stages: tuple[Stage, ...] = PLAIN_STAGES
    effort: Effort = dataclasses.field(default_factory=Effort)


PLAIN_SMOKE = PlainSetting(
    keys=6,
    renderings=2,
    stages=tuple(dataclasses.replace(stage, scenes=(1, 2)) for stage in PLAIN_STAGES),
    effort=Effort(scenes=(2, 4), clips=2),
)
"""Runs through everything quickly and learns next to nothing: for tests."""

PLAIN_STEPS = 700
"""Steps of the bundled checkpoint."""

# A third of the tiny model's: most is known already.
_LEARNING_RATE = 5e-4


def train_plain(
    out: Path,
    *,
    work: Path,
    steps: int = PLAIN_STEPS,
    seed: int = 0,
    setting: PlainSetting | None = None,
    report: Callable[[str], None] = silent,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Train the sibling of the bundled tiny model into ``out``; resumes and repeats as ``train_tiny`` does.

    Frames are shared with ``train_tiny`` where ``work`` is the same folder. Returns the evaluation's results.
    """
    setting = setting or PlainSetting()
    torch.manual_seed(seed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(TINY_FOLDER)
    network = load_network(TINY_FOLDER, device=torch.device("cpu"), dtype=torch.float32)
    report("frame bank: rendering through H.264 (kept for the next run)")
    training = load_or_render_bank(work, renderings=setting.renderings, held_out=False, keys=setting.keys)
    own = work / "plain"
    own.mkdir(parents=True, exist_ok=True)
    bank = token_bank(network, training, own / "tokens-training.safetensors")
    network.requires_grad_(True)
    trainer = LanguageTrainer(
        network,
        tokenizer,
        bank,
        steps=steps,
        seed=seed,
        folder=own,
        stages=setting.stages,
        rate=_LEARNING_RATE,
        fresh=False,
    )
    log = TrainingLog(own / "training-log.jsonl", report)

    def on_step(trainer: LanguageTrainer, loss: float) -> None:
        log.on_step(trainer, loss)
        if progress is not None:
            progress(trainer.used)

    trainer.train(on_step)
    round_to_half(network)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as temporary:
        folder = Path(temporary)
        save_stock(network, tokenizer, folder)
        report("relevance heads, on clips of training frames")
        relevance = calibrated_heads(folder, bank, setting.effort)
        (folder / "relevance.json").write_text(json.dumps(relevance, indent=1) + "\n")
        report("evaluation on held-out clips")
        results = evaluate_plain(folder, setting.effort, report=report)
        results["relevance"] = relevance
        results["training"] = {
            "steps": trainer.progress.step,
            "minutes": round(trainer.progress.seconds / 60, 1),
            "seed": seed,
            "threads": torch.get_num_threads(),
        }
        (folder / "evaluation.json").write_text(json.dumps(results, indent=1) + "\n")
        (folder / "training_log.json").write_text(json.dumps(log.entries()) + "\n")
        write_plain_card(folder / "README.md", results)
        for path in sorted(folder.iterdir()):
            path.chmod(0o644)
            shutil.move(path, out / path.name)
    return results
