"""What the trained model can do, on clips it never saw: by question kind, compression and length of the clip.

Most clips are composed from held-out bank frames, which makes hundreds of questions affordable. A few are rendered,
encoded, decoded and prefilled for real, chunk by chunk, to show that this is the same thing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from videox2l.models.relevance import RelevanceHeads
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.models.video_xl.prompt import prefix_ids
from videox2l.training.clips import QuestionEncoder, TokenBank, compose_clips
from videox2l.training.files import grade_files, silent
from videox2l.training.model_config import TRAINED_RATIOS
from videox2l.training.parallel_prefill import LayerMemory, full_attention_memory
from videox2l.training.relevance import best_chunk, calibrate, question_attention
from videox2l.training.scoring import Grade, Memories, compress, grade, level_ratios, mixed
from videox2l.video.synthetic import Question, QuestionKind, SyntheticClip, ask

_EVALUATION_SEED = 77
_CALIBRATION_SEED = 78
_GIST: tuple[QuestionKind, ...] = ("exists", "after", "first", "last")
# Quadratic in the clip's length and trained up to 16 scenes only: a yardstick for short clips.
_FULL_MAX_SCENES = 16


@dataclass(frozen=True)
class Effort:
    """Sizes of the evaluation. ``clips`` per length, ``questions`` per clip and kind group; ``files``: real videos."""

    scenes: tuple[int, ...] = (4, 8, 16, 32, 64)
    clips: int = 24
    questions: int = 12
    files: int = 3
    file_scenes: tuple[int, ...] = (8, 16, 64)


def evaluate(
    network: VideoXLNetwork,
    tokenizer: PreTrainedTokenizerFast,
    training: TokenBank,
    held_out: TokenBank,
    effort: Effort,
    *,
    report: Callable[[str], None] = silent,
) -> dict[str, Any]:
    """Calibrate the relevance heads on training clips, then grade everything on held-out ones."""
    evaluator = _Evaluator(network, tokenizer)
    with torch.inference_mode():
        heads = evaluator.calibrate(training, effort)
        report(f"relevance heads: {heads}")
        rows: list[dict[str, Any]] = []
        recall: dict[str, dict[str, float]] = {}
        for scenes in effort.scenes:
            if scenes > held_out.codes_RKS3.shape[1]:
                continue
            found, recall[str(scenes)] = evaluator.length(held_out, scenes, heads, effort)
            rows += found
            code = {row["condition"]: row["digits"] for row in found if row["kind"] == "code"}
            report(f"{scenes} scenes: {code}")
        files = grade_files(network, tokenizer, heads, effort.file_scenes[: effort.files], report=report)
    found_at_1 = {scenes: values["best heads"] for scenes, values in recall.items()}
    relevance = asdict(heads) | {"recall_at_1": found_at_1}
    return {"rows": rows, "relevance": relevance, "recall_at_1": recall, "files": files}


class _Evaluator:
    def __init__(self, network: VideoXLNetwork, tokenizer: PreTrainedTokenizerFast) -> None:
        self.network = network
        self.encoder = QuestionEncoder(tokenizer)
        self.prompt_P = torch.tensor(prefix_ids(tokenizer))

    def calibrate(self, bank: TokenBank, effort: Effort) -> RelevanceHeads:
        """Choose the heads on codes of clips of several lengths, composed from training frames."""
        rng = np.random.default_rng(_CALIBRATION_SEED)
        cases = []
        for scenes in effort.scenes:
            visual_BCWN, shown = compose_clips(
                bank, max(1, effort.clips // 2), min(scenes, bank.codes_RKS3.shape[1]), rng
            )
            high = compress(self.network, self.prompt_P, visual_BCWN, level_ratios("high", len(shown[0].scenes)))
            for clip, content in enumerate(shown):
                for question in self._codes(content, effort.questions, rng):
                    weights = question_attention(self.network, self.encoder, high.of_clip(clip), question)
                    cases.append((weights, high.chunks, _chunk_of(question)))
        return calibrate(cases)

    def length(
        self, bank: TokenBank, scenes: int, heads: RelevanceHeads, effort: Effort
    ) -> tuple[list[dict[str, Any]], dict[str, float]]:
        """All rows of the table for clips of one length, and recall@1 of the ways to find the right chunk."""
        rng = np.random.default_rng([_EVALUATION_SEED, scenes])
        visual_BCWN, shown = compose_clips(bank, effort.clips, scenes, rng)
        codes = [self._codes(clip, effort.questions, rng) for clip in shown]
        gist = [
            [ask(clip, _GIST[i % 2 if i % 8 else 2 + (i // 8) % 2], rng) for i in range(2 * effort.questions)]
            for clip in shown
        ]
        low = compress(self.network, self.prompt_P, visual_BCWN, level_ratios("low", scenes))
        high = compress(self.network, self.prompt_P, visual_BCWN, level_ratios("high", scenes))
        memories: dict[str, list[LayerMemory]] = {}
        if scenes <= _FULL_MAX_SCENES:
            memories["uncompressed"] = full_attention_memory(self.network, self.prompt_P, visual_BCWN)[0]
        for ratio in TRAINED_RATIOS:
            memories[f"{ratio}x everywhere"] = compress(
                self.network, self.prompt_P, visual_BCWN, [ratio] * scenes
            ).layers
        memories["high level only"] = high.layers
        rows = []
        for name, layers in memories.items():
            tokens = layers[0].keys_BHMD.shape[2] - len(self.prompt_P)
            graded = grade(self.network, self.encoder, layers, codes) + grade(self.network, self.encoder, layers, gist)
            rows += _rows(name, scenes, [(g, tokens) for g in graded])
        reloaded, recall = self._reloading(low, high, codes, heads, rng)
        for name, pairs in reloaded.items():
            rows += _rows(name, scenes, pairs)
        return rows, recall

    def _codes(self, clip: SyntheticClip, count: int, rng: np.random.Generator) -> list[Question]:
        # Of inner scenes only: the first and last are kept in detail at both levels and would flatter the high one.
        inner = range(1, len(clip.scenes) - 1) if len(clip.scenes) > 2 else None
        return [ask(clip, "code", rng, code_scenes=inner) for _ in range(count)]

    def _reloading(
        self,
        low: Memories,
        high: Memories,
        codes: Sequence[Sequence[Question]],
        heads: RelevanceHeads,
        rng: np.random.Generator,
    ) -> tuple[dict[str, list[tuple[Grade, int]]], dict[str, float]]:
        """One chunk re-loaded per question, found in four ways."""
        pairs: dict[str, list[tuple[Grade, int]]] = defaultdict(list)
        hits: dict[str, list[bool]] = defaultdict(list)
        for clip, of_clip in enumerate(codes):
            low_1, high_1 = low.of_clip(clip), high.of_clip(clip)
            cache: dict[int, Memories] = {}
            for question in of_clip:
                weights = question_attention(self.network, self.encoder, high_1, question)
                every = RelevanceHeads(tuple(np.ndindex(weights.shape[:2])), "last", "mean")
                chosen = {
                    "right chunk": _chunk_of(question),
                    "best heads": best_chunk(weights, high.chunks, heads),
                    "all heads": best_chunk(weights, high.chunks, every),
                    "random chunk": int(rng.integers(len(high.chunks))),
                }
                for name, chunk in chosen.items():
                    if chunk not in cache:
                        cache[chunk] = mixed(self.network, low_1, high_1, {chunk})
                    memory = cache[chunk]
                    (graded,) = grade(self.network, self.encoder, memory.layers, [[question]])
                    pairs[f"bi-level, {name}"].append((graded, memory.tokens - len(self.prompt_P)))
                    hits[name].append(chunk == _chunk_of(question))
        return dict(pairs), {name: float(np.mean(values)) for name, values in hits.items() if name != "right chunk"}


def _chunk_of(question: Question) -> int:
    if question.chunk is None:
        raise ValueError(f"{question.text!r} has no chunk that holds its answer")
    return question.chunk


def _rows(condition: str, scenes: int, graded: Iterable[tuple[Grade, int]]) -> list[dict[str, Any]]:
    """One row per question kind."""
    by_kind: dict[str, list[tuple[Grade, int]]] = defaultdict(list)
    for pair in graded:
        by_kind[pair[0].question.kind].append(pair)
    rows = []
    for kind, pairs in by_kind.items():
        digits = [g.digits for g, _ in pairs if g.digits is not None]
        rows.append(
            {
                "condition": condition,
                "scenes": scenes,
                "kind": kind,
                "questions": len(pairs),
                "kv_tokens": round(float(np.mean([tokens for _, tokens in pairs]))),
                "exact": round(float(np.mean([g.exact for g, _ in pairs])), 4),
                "digits": round(float(np.mean(digits)), 4) if digits else None,
            }
        )
    return rows
