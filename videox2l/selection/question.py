"""The question's own queries, which scorers compare with the gist's keys."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection

import torch

from videox2l.kv.partial_attention import attend
from videox2l.kv.rope import rotate
from videox2l.models import KVCompressibleModel, RelevanceHeads
from videox2l.models.packed import enable_packed, packed_forward
from videox2l.selection.scorer import QuestionContext


@torch.inference_mode()
def question_queries(context: QuestionContext, layers: Collection[int]) -> dict[int, torch.Tensor]:
    """Rotated queries ``[Q, T, D]`` of the question's tokens in each of ``layers``, earlier turns left out.

    The question runs once over the gist, and no further than the last of ``layers``.
    """
    decoder, memory = context.model.decoder, context.memory
    enable_packed(decoder)
    watching = _Watching(context, layers)
    ids_T = torch.tensor(context.question_ids, device=decoder.device)
    positions_T = torch.arange(memory.tokens, memory.tokens + len(ids_T), device=decoder.device)
    with contextlib.suppress(_EnoughError):
        packed_forward(decoder.base_model, ids_T, positions_T, watching)
    return watching.queries


@torch.inference_mode()
def before_rope(model: KVCompressibleModel, states_XTD: torch.Tensor, start: int) -> torch.Tensor:
    """Queries or keys at positions ``start`` … as they were before rotation, up to rounding."""
    cos_TD, sin_TD = model.rope_tables(start, states_XTD.shape[-2], states_XTD.dtype)
    return rotate(states_XTD, (cos_TD, -sin_TD))


def relevance_heads(model: KVCompressibleModel) -> RelevanceHeads:
    """The model's calibrated heads, or every query head of every layer where it was not calibrated."""
    if model.relevance_heads is not None:
        return model.relevance_heads
    config = model.decoder.config
    pairs = itertools.product(range(config.num_hidden_layers), range(config.num_attention_heads))
    return RelevanceHeads(tuple(pairs))


class _EnoughError(Exception):
    """No layer behind this one is asked: the forward pass ends here."""


class _Watching:
    """Attention of the question over the memory and itself, whose queries are kept where they are asked for."""

    def __init__(self, context: QuestionContext, layers: Collection[int]) -> None:
        self._context, self._layers = context, frozenset(layers)
        count = len(context.question_ids)
        mask_TT = torch.full((count, count), -torch.inf, device=context.memory.keys_LHTD.device).triu(1)
        share = context.model.decoder.config.num_attention_heads // context.memory.keys_LHTD.shape[1]
        self._mask_11XT = mask_TT.repeat(share, 1)[None, None]
        self.queries: dict[int, torch.Tensor] = {}

    def __call__(
        self, layer: int, queries_QTD: torch.Tensor, keys_HTD: torch.Tensor, values_HTD: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        if layer in self._layers:
            self.queries[layer] = queries_QTD[:, self._context.history_tokens :]
        if layer == max(self._layers):
            raise _EnoughError
        memory = self._context.memory
        # The query heads that share a KV head are just more queries over the same keys.
        queries_1HXD = queries_QTD.unflatten(0, (len(keys_HTD), -1)).flatten(1, 2)[None]
        own = attend(queries_1HXD, keys_HTD[None], values_HTD[None], scaling, self._mask_11XT)
        seen = attend(queries_1HXD, memory.keys_LHTD[layer, None], memory.values_LHTD[layer, None], scaling)
        out_HXD = own.join(seen).out_ND[0]
        out_QTD = out_HXD.unflatten(1, (-1, queries_QTD.shape[1])).flatten(0, 1)
        return out_QTD.transpose(0, 1).to(queries_QTD.dtype)
