"""Relevance as the model's own attention: how much a question looks at each chunk's high KVs.

The question runs once over the gist, and the attention weights of its tokens on a chunk's memory tokens become that
chunk's score. Few heads find the right chunk; most look elsewhere, and their sum finds it less often than the best head
alone. So a checkpoint may carry calibrated heads (``relevance.json``); without it all heads count alike.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import torch

from videox2l.kv import MixedKV
from videox2l.kv.partial_attention import attend
from videox2l.models import KVCompressibleModel, RelevanceHeads
from videox2l.models.packed import enable_packed, packed_forward
from videox2l.selection.scorer import QuestionContext


@torch.inference_mode()
def score_by_attention(context: QuestionContext) -> list[float]:
    """One score a chunk: attention of the question on its memory tokens, averaged over the model's relevance heads."""
    decoder = context.model.decoder
    enable_packed(decoder)
    scoring = _Scoring(context)
    ids_T = torch.tensor(context.question_ids, device=decoder.device)
    positions_T = torch.arange(context.memory.tokens, context.memory.tokens + len(ids_T), device=decoder.device)
    with contextlib.suppress(_EnoughError):
        packed_forward(decoder.base_model, ids_T, positions_T, scoring)
    return torch.cat(scoring.scores).mean(0).tolist()


class _EnoughError(Exception):
    """No layer behind this one is asked: the forward pass ends here."""


class _Scoring:
    """Attention of the question over the memory and itself, watched where relevance heads are."""

    def __init__(self, context: QuestionContext) -> None:
        self._context = context
        self._how = context.model.relevance_heads or all_heads(context.model)
        self._last = max(layer for layer, _ in self._how.heads)
        count = len(context.question_ids)
        mask_TT = torch.full((count, count), -torch.inf, device=context.memory.keys_LHTD.device).triu(1)
        share = context.model.decoder.config.num_attention_heads // context.memory.keys_LHTD.shape[1]
        self._mask_11XT = mask_TT.repeat(share, 1)[None, None]
        self.scores: list[torch.Tensor] = []

    def __call__(
        self, layer: int, queries_QTD: torch.Tensor, keys_HTD: torch.Tensor, values_HTD: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        memory, how = self._context.memory, self._how
        if heads := sorted(head for at, head in how.heads if at == layer):
            asking_QTD = queries_QTD[:, self._context.history_tokens :]
            self.scores.append(chunk_scores(attention_weights(asking_QTD, heads, memory.keys_LHTD[layer]), memory, how))
        if layer == self._last:
            raise _EnoughError
        # The query heads that share a KV head are just more queries over the same keys.
        queries_1HXD = queries_QTD.unflatten(0, (len(keys_HTD), -1)).flatten(1, 2)[None]
        own = attend(queries_1HXD, keys_HTD[None], values_HTD[None], scaling, self._mask_11XT)
        seen = attend(queries_1HXD, memory.keys_LHTD[layer, None], memory.values_LHTD[layer, None], scaling)
        out_HXD = own.join(seen).out_ND[0]
        out_QTD = out_HXD.unflatten(1, (-1, queries_QTD.shape[1])).flatten(0, 1)
        return out_QTD.transpose(0, 1).to(queries_QTD.dtype)


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


def all_heads(model: KVCompressibleModel) -> RelevanceHeads:
    """Every query head of every layer, for a model that was not calibrated."""
    config = model.decoder.config
    pairs = itertools.product(range(config.num_hidden_layers), range(config.num_attention_heads))
    return RelevanceHeads(tuple(pairs))
