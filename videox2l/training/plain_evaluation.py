"""What the plain sibling can do: how its heads are chosen, and its accuracy on clips that it never saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videox2l.config import CompressionConfig
from videox2l.evaluation.suites.clips import levels
from videox2l.evaluation.suites.compressors import Comparison, compare
from videox2l.evaluation.suites.footage import ComposedClip, Take
from videox2l.kv import mix
from videox2l.models import KVCompressibleModel, load_model
from videox2l.models.plain.compressors import COMPRESSORS
from videox2l.selection import QuestionContext
from videox2l.selection.attention import attention_weights
from videox2l.selection.question import question_queries
from videox2l.training.clips import TokenBank, compose_clips
from videox2l.training.files import silent
from videox2l.training.relevance import calibrate
from videox2l.video.synthetic import SECONDS_PER_SCENE, ask

_CALIBRATION_SEED = 79
_COMPRESSIONS = (
    CompressionConfig(1, 4, SECONDS_PER_SCENE, "level"),
    CompressionConfig(1, 16, SECONDS_PER_SCENE, "level"),
    CompressionConfig(1, 8, SECONDS_PER_SCENE),
    CompressionConfig(2, 16, SECONDS_PER_SCENE),
)
"""What heads are chosen on. Chunks of unlike sizes, the ends' here, are as usual as chunks of equal ones."""
_CALIBRATION_CLIPS = 2  # of each length, for each compressor and compression
_QUESTIONS = 4


@dataclass(frozen=True)
class Effort:
    """Sizes of the evaluation: lengths of clips, and clips of each."""

    scenes: tuple[int, ...] = (4, 8, 16, 32, 64)
    clips: int = 20


def with_compressors(folder: str | Path) -> dict[str, KVCompressibleModel]:
    """The checkpoint once for each compressor, on the CPU."""
    return {name: load_model(f"{folder}?compressor={name}", device="cpu") for name in COMPRESSORS}


@torch.inference_mode()
def calibrated_heads(folder: Path, bank: TokenBank, effort: Effort) -> dict[str, Any]:
    """``relevance.json``: the heads that find the scene of a code question in the gist of any compressor.

    Clips are made of training frames.
    """
    rng = np.random.default_rng(_CALIBRATION_SEED)
    cases = []
    for scenes in effort.scenes:
        visual_BCWN, shown = compose_clips(bank, _CALIBRATION_CLIPS, min(scenes, bank.codes_RKS3.shape[1]), rng)
        clips = [
            ComposedClip(content, tuple(map(Take, content.scenes, visual_CWN)))
            for content, visual_CWN in zip(shown, visual_BCWN, strict=True)
        ]
        for model in with_compressors(folder).values():
            for compression in _COMPRESSIONS:
                cases += [case for clip in clips for case in _cases(model, clip, compression, rng)]
    return asdict(calibrate(cases))


def _cases(
    model: KVCompressibleModel, clip: ComposedClip, compression: CompressionConfig, rng: np.random.Generator
) -> list[tuple[torch.Tensor, tuple[slice, ...], int]]:
    prompt, _, high = levels(model, [clip], compression)
    memory = mix(prompt, high[0], lambda count, dtype: model.rope_tables(0, count, dtype))
    config = model.decoder.config
    heads = list(range(config.num_attention_heads))
    cases = []
    for _ in range(_QUESTIONS):
        question = ask(clip.content, "code", rng)
        assert question.chunk is not None
        context = QuestionContext(model, model.question_ids(question.text), memory)
        queries = question_queries(context, range(config.num_hidden_layers))
        weights = [attention_weights(queries[layer], heads, memory.keys_LHTD[layer]) for layer in sorted(queries)]
        cases.append((torch.stack(weights), memory.chunk_slices, question.chunk))
    return cases


def evaluate_plain(folder: Path, effort: Effort, *, report: Callable[[str], None] = silent) -> dict[str, Any]:
    """Accuracy without compression, which is what was trained, on clips of held-out scenes of several lengths."""
    comparison = Comparison(effort.scenes, effort.clips, ratios=(1,), pairs=())
    results = compare({"average": load_model(str(folder), device="cpu")}, comparison)
    for row in results["rows"]:
        low, high = row["interval"]
        report(f"{row['scenes']} scenes, {row['suite']}: {row['accuracy']:.3f} [{low:.2f} to {high:.2f}]")
    return {"rows": results["rows"]}
