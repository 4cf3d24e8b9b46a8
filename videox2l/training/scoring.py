"""Right or wrong: answers of a network over a memory, and memories mixed from two compression levels."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from videox2l.config import CompressionConfig
from videox2l.kv.rope import rotate
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.training.clips import QuestionEncoder
from videox2l.training.model_config import HIGH_RATIO, LOW_RATIO
from videox2l.training.parallel_prefill import LayerMemory, answer_logits, plan_chunks, prefill, tables
from videox2l.video.synthetic import SECONDS_PER_SCENE, Question


@dataclass(frozen=True)
class Memories:
    """Memories of B clips under the same plan: rotated keys and values per layer, and where each chunk's tokens lie."""

    layers: list[LayerMemory]
    chunks: tuple[slice, ...]

    @property
    def tokens(self) -> int:
        return self.layers[0].keys_BHMD.shape[2]

    def of_clip(self, clip: int) -> Memories:
        """The same for one clip alone."""
        layers = [LayerMemory(m.keys_BHMD[clip : clip + 1], m.values_BHMD[clip : clip + 1]) for m in self.layers]
        return Memories(layers, self.chunks)


@dataclass(frozen=True)
class Grade:
    """How one answer fared: the whole of it right, and the share of its digits (codes only) that are."""

    question: Question
    exact: bool
    digits: float | None


def compress(
    network: VideoXLNetwork, prompt_P: torch.Tensor, visual_BCWN: torch.Tensor, ratios: Sequence[int]
) -> Memories:
    """Prefill with these ratios, chunk for chunk."""
    plan = plan_chunks(ratios, visual_BCWN.shape[2], len(prompt_P))
    counts = torch.bincount(plan.memory_rows_M // plan.vsts, minlength=len(ratios)).tolist()
    edges = [len(prompt_P)]
    for count in counts:
        edges.append(edges[-1] + count)
    chunks = tuple(slice(*pair) for pair in itertools.pairwise(edges))
    return Memories(prefill(network, prompt_P, visual_BCWN, plan), chunks)


def level_ratios(level: str, chunks: int) -> list[int]:
    """The ratios of a pass as the model ships: the high level keeps the first and last chunk at the low ratio."""
    config = CompressionConfig(LOW_RATIO, HIGH_RATIO, SECONDS_PER_SCENE)
    return [config.ratio("low" if level == "low" else "high", edge=c in (0, chunks - 1)) for c in range(chunks)]


def mixed(network: VideoXLNetwork, low: Memories, high: Memories, reloaded: Collection[int]) -> Memories:
    """The high memory with these chunks replaced by their low KVs, all keys turned to their new positions."""
    prompt = high.chunks[0].start
    parts = [(high, slice(0, prompt))]
    parts += [
        ((low if c in reloaded else high), (low if c in reloaded else high).chunks[c]) for c in range(len(high.chunks))
    ]
    old = torch.cat([torch.arange(span.start, span.stop) for _, span in parts])
    # Rotations add up: a key at its old position becomes that at its new one by the difference.
    shift = tables(network, torch.arange(len(old)) - old)
    layers = []
    for index in range(len(high.layers)):
        keys = torch.cat([source.layers[index].keys_BHMD[:, :, span] for source, span in parts], dim=2)
        values = torch.cat([source.layers[index].values_BHMD[:, :, span] for source, span in parts], dim=2)
        layers.append(LayerMemory(rotate(keys, shift), values))
    edges = [0]
    for _, span in parts:
        edges.append(edges[-1] + span.stop - span.start)
    return Memories(layers, tuple(slice(a, b) for a, b in itertools.pairwise(edges[1:])))


def grade(
    network: VideoXLNetwork,
    encoder: QuestionEncoder,
    memory: list[LayerMemory],
    questions: Sequence[Sequence[Question]],
) -> list[Grade]:
    """Grade equally many questions on each of the memory's clips, clip after clip.

    All answer tokens are scored in one pass behind the right tokens before them. For the whole answer this equals
    greedy decoding: both are right exactly when every token is.
    """
    ids, wanted, targets = encoder.rows(questions)
    start = memory[0].keys_BHMD.shape[2]
    right_X = (answer_logits(network, memory, start, ids, wanted).argmax(-1) == targets).tolist()
    grades, place = [], 0
    for question in (question for of_clip in questions for question in of_clip):
        length = len(encoder.answer(question.answer))
        right = right_X[place : place + length]
        place += length
        # A code's tokens are digit, space, digit, space, digit, end of turn.
        digits = sum(right[0:5:2]) / 3 if question.kind == "code" else None
        grades.append(Grade(question, all(right), digits))
    return grades
