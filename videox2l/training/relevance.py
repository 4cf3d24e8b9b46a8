"""Which attention heads point at the scene a question is about: measured, and kept beside the weights.

A question is run over the *high* level's memory of the whole video. Every head of every layer then has attention
weights from the question's tokens to the memory's tokens; summarised to one number per chunk they rank the chunks. Some
heads do this nearly always right, most are noise, so the best few are chosen once, on training clips.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import get_args

import torch

from videox2l.models.relevance import Reduction, RelevanceHeads, TokenChoice
from videox2l.models.video_xl.network import VideoXLNetwork
from videox2l.training.clips import QuestionEncoder
from videox2l.training.parallel_prefill import answer_logits
from videox2l.training.scoring import Memories
from videox2l.video.synthetic import Question

Head = tuple[int, int]
_MAX_HEADS = 3  # a fourth never helped, and every head costs its share of the time to the first token


def question_attention(
    network: VideoXLNetwork, encoder: QuestionEncoder, memory: Memories, question: Question
) -> torch.Tensor:
    """Attention weights of one question's tokens over one clip's memory: [layers, query heads, tokens, memory].

    The softmax runs over the memory (prompt included) and leaves out the question's own tokens.
    """
    ids_BJT = torch.tensor(encoder.question(question.text))[None, None]
    last = torch.zeros_like(ids_BJT, dtype=torch.bool)
    last[..., -1] = True
    queries: list[torch.Tensor] = []
    answer_logits(network, memory.layers, memory.tokens, ids_BJT, last, queries_out=queries)
    weights = []
    for layer, (queries_BQJTD, kv) in enumerate(zip(queries, memory.layers, strict=True)):
        scale = network.language_model.model.layers[layer].self_attn.scaling
        queries_QTD = queries_BQJTD[0, :, 0]
        share = queries_QTD.shape[0] // kv.keys_BHMD.shape[1]
        keys_QMD = kv.keys_BHMD[0].repeat_interleave(share, dim=0)
        weights.append(torch.softmax(scale * queries_QTD @ keys_QMD.mT, dim=-1))
    return torch.stack(weights)


def head_scores(
    weights_LQTM: torch.Tensor, chunks: Sequence[slice], question_tokens: TokenChoice, reduction: Reduction
) -> torch.Tensor:
    """One score per layer, query head and chunk."""
    weights_LQM = {
        "last": lambda: weights_LQTM[:, :, -1],
        "mean": lambda: weights_LQTM.mean(2),
        "max": lambda: weights_LQTM.amax(2),
    }[question_tokens]()
    parts = [weights_LQM[:, :, span] for span in chunks]
    if reduction == "mean":
        return torch.stack([part.mean(-1) for part in parts], dim=-1)
    if reduction == "sum":
        return torch.stack([part.sum(-1) for part in parts], dim=-1)
    return torch.stack([part.amax(-1) for part in parts], dim=-1)


def best_chunk(weights_LQTM: torch.Tensor, chunks: Sequence[slice], how: RelevanceHeads) -> int:
    """The chunk that these heads point at."""
    scores_LQC = head_scores(weights_LQTM, chunks, how.question_tokens, how.reduction)
    return int(torch.stack([scores_LQC[layer, head] for layer, head in how.heads]).mean(0).argmax())


def calibrate(cases: Sequence[tuple[torch.Tensor, tuple[slice, ...], int]]) -> RelevanceHeads:
    """Choose heads on ``cases``: attention weights, chunk slices, and the right chunk.

    For every way to summarise, the best single head is found by recall@1, then others are added while that helps; ties
    go to the wider margin between the right chunk and the best wrong one.
    """
    best: tuple[tuple[float, float], RelevanceHeads] | None = None
    for question_tokens, reduction in itertools.product(get_args(TokenChoice), get_args(Reduction)):
        scores = [head_scores(weights, chunks, question_tokens, reduction) for weights, chunks, _ in cases]
        targets = [target for _, _, target in cases]
        heads: list[Head] = []
        value = (0.0, 0.0)
        every = list(itertools.product(range(scores[0].shape[0]), range(scores[0].shape[1])))
        while len(heads) < _MAX_HEADS:
            tried = {head: _quality(scores, targets, [*heads, head]) for head in every if head not in heads}
            head = max(tried, key=lambda candidate: tried[candidate])
            if heads and tried[head][0] <= value[0]:
                break
            heads, value = [*heads, head], tried[head]
        if best is None or value > best[0]:
            best = (value, RelevanceHeads(tuple(heads), question_tokens, reduction))
    if best is None:
        raise ValueError("calibration needs cases")
    return best[1]


def _quality(scores: Sequence[torch.Tensor], targets: Sequence[int], heads: Sequence[Head]) -> tuple[float, float]:
    hits, margins = 0, 0.0
    for scores_LQC, target in zip(scores, targets, strict=True):
        scores_C = torch.stack([scores_LQC[layer, head] for layer, head in heads]).mean(0)
        others = torch.cat([scores_C[:target], scores_C[target + 1 :]])
        hits += int(scores_C.argmax() == target)
        margins += float(torch.log(scores_C[target] + 1e-9) - torch.log(others.max() + 1e-9))
    return hits / len(targets), margins / len(targets)
