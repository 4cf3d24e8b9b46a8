"""Relevance as the model's own attention: how much a question looks at each chunk's high KVs.

The question runs once over the gist, and the attention weights of its tokens on a chunk's memory tokens become that
chunk's score. Few heads find the right chunk; most look elsewhere, and their sum finds it less often than the best head
alone. So a checkpoint may carry calibrated heads (``relevance.json``); without it all heads count alike.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from videox2l.kv import MixedKV
from videox2l.models import RelevanceHeads
from videox2l.selection.question import question_queries, relevance_heads
from videox2l.selection.scorer import QuestionContext


@torch.inference_mode()
def score_by_attention(context: QuestionContext) -> list[float]:
    """One score a chunk: attention of the question on its memory tokens, averaged over the model's relevance heads."""
    memory, how = context.memory, relevance_heads(context.model)
    scores = [
        chunk_scores(attention_weights(queries_QTD, how.of_layer(layer), memory.keys_LHTD[layer]), memory, how)
        for layer, queries_QTD in question_queries(context, how.layers).items()
    ]
    return torch.cat(scores).mean(0).tolist()


def attention_weights(queries_QTD: torch.Tensor, heads: list[int], keys_HTD: torch.Tensor) -> torch.Tensor:
    """Attention weights of ``heads`` over the memory, ``[len(heads), question tokens, memory tokens]``.

    The softmax runs over the memory, prompt included, and leaves out the question's own tokens: what counts is where in
    the memory a question looks, not how much it looks at itself.
    """
    share = queries_QTD.shape[0] // keys_HTD.shape[0]
    keys_QTD = keys_HTD[[head // share for head in heads]]
    return torch.softmax((queries_QTD[heads] @ keys_QTD.mT).float() * queries_QTD.shape[-1] ** -0.5, dim=-1)


def chunk_scores(weights_QTM: torch.Tensor, memory: MixedKV, how: RelevanceHeads) -> torch.Tensor:
    """``[heads, chunks]``: the weights summarised over question tokens and over each chunk's memory tokens."""
    weights_QM = {
        "last": lambda: weights_QTM[:, -1],
        "mean": lambda: weights_QTM.mean(1),
        "max": lambda: weights_QTM.amax(1),
    }[how.question_tokens]()
    reductions: dict[str, Callable[..., torch.Tensor]] = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax}
    reduce = reductions[how.reduction]
    nothing_Q = weights_QM.new_zeros(len(weights_QM))
    return torch.stack(
        [reduce(weights_QM[:, part], -1) if part.stop > part.start else nothing_Q for part in memory.chunk_slices],
        dim=1,
    )
