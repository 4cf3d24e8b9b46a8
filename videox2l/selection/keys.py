"""Relevance as likeness of the question's queries to a chunk's keys, both before rotation: no place is favoured.

``keys`` compares with the mean of a chunk's keys, as retrieval of KV blocks does (ReKV, arXiv 2503.00540).
``key_bounds`` takes the largest product that any key between the chunk's smallest and largest numbers could have
(Quest, arXiv 2406.10774): never below what the best of its keys has.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from videox2l.errors import ConfigError
from videox2l.selection.question import before_rope, question_queries, relevance_heads
from videox2l.selection.scorer import QuestionContext

_Compare = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def score_by_keys(context: QuestionContext) -> list[float]:
    """Cosine of the question's mean query and the chunk's mean key, averaged over the model's relevance heads."""

    def cosine(queries_QTD: torch.Tensor, keys_QTD: torch.Tensor) -> torch.Tensor:
        return F.cosine_similarity(queries_QTD.mean(1), keys_QTD.mean(1), dim=-1)

    return _score(context, cosine)


def score_by_key_bounds(context: QuestionContext) -> list[float]:
    """Upper bound of the largest product of any of the question's queries with any of the chunk's keys, scaled."""

    def bound(queries_QTD: torch.Tensor, keys_QTD: torch.Tensor) -> torch.Tensor:
        low_Q1D, high_Q1D = keys_QTD.amin(1, keepdim=True), keys_QTD.amax(1, keepdim=True)
        bounds_QT = torch.maximum(queries_QTD * low_Q1D, queries_QTD * high_Q1D).sum(-1)
        return bounds_QT.amax(1) * queries_QTD.shape[-1] ** -0.5

    return _score(context, bound)


@torch.inference_mode()
def _score(context: QuestionContext, compare: _Compare) -> list[float]:
    """``compare`` gives a number a head for queries ``[Q, T, D]`` and a chunk's keys ``[Q, n, D]``; a chunk without
    tokens is rated as low as any other."""
    model, memory = context.model, context.memory
    if model.geometry.keys_in_place:  # each key has a rotation of its own, which nobody has kept
        raise ConfigError(f"{model.name} keeps no keys before rotation, which this scorer compares: use attention")
    start = memory.tokens + context.history_tokens
    how = relevance_heads(model)
    rows: list[torch.Tensor] = []
    for layer, rotated_QTD in question_queries(context, how.layers).items():
        heads = how.of_layer(layer)
        share = rotated_QTD.shape[0] // memory.keys_LHTD.shape[1]
        queries_QTD = before_rope(model, rotated_QTD[heads], start).float()
        keys_QTD = before_rope(model, memory.keys_LHTD[layer], 0)[[head // share for head in heads]].float()
        nothing_Q = queries_QTD.new_full((len(heads),), torch.nan)
        columns = [
            compare(queries_QTD, keys_QTD[:, part]) if part.stop > part.start else nothing_Q
            for part in memory.chunk_slices
        ]
        rows.append(torch.stack(columns, dim=1))
    scores_C = torch.cat(rows).mean(0)
    lowest = scores_C.nan_to_num(nan=torch.inf).amin()
    return torch.where(scores_C.isnan(), lowest, scores_C).tolist()
