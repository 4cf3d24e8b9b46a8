"""The question's own queries, which scorers compare with the gist's keys."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Sequence

import torch

from videox2l.kv import MixedKV
from videox2l.kv.partial_attention import Part, attend
from videox2l.kv.rope import rotate
from videox2l.models import KVCompressibleModel, RelevanceHeads
from videox2l.models.packed import enable_packed, packed_forward
from videox2l.selection.scorer import QuestionContext


def question_queries(context: QuestionContext, layers: Collection[int]) -> dict[int, torch.Tensor]:
    """Rotated queries ``[Q, T, D]`` of the question's tokens in each of ``layers``, earlier turns left out.

    The question runs once over the gist, and no further than the last of ``layers``.
    """
    if not context.queries.keys() >= set(layers):
        run_questions([context], layers)
    return {layer: context.queries[layer] for layer in sorted(layers)}


@torch.inference_mode()
def run_questions(contexts: Sequence[QuestionContext], layers: Collection[int]) -> None:
    """Have :func:`question_queries` ready for all of ``contexts``, of one model, by one pass of their packed tokens.

    Equal to one after the other but for rounding.
    """
    # Questions over one gist stand side by side, so that it is read once for all of them.
    contexts = sorted(contexts, key=lambda context: id(context.memory))
    decoder = contexts[0].model.decoder
    enable_packed(decoder)
    ids: list[int] = []
    positions: list[int] = []
    for context in contexts:
        ids += context.question_ids
        positions += range(context.memory.tokens, context.memory.tokens + len(context.question_ids))
    watching = _Watching(contexts, layers)
    with contextlib.suppress(_EnoughError):
        packed_forward(
            decoder.base_model,
            torch.tensor(ids, device=decoder.device),
            torch.tensor(positions, device=decoder.device),
            watching,
        )


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
    """Attention of questions over their memories and themselves, whose queries are kept where they are asked for.

    ``contexts`` are in the order of the packed tokens, those of one memory side by side.
    """

    def __init__(self, contexts: Sequence[QuestionContext], layers: Collection[int]) -> None:
        self._layers = frozenset(layers)
        ends = list(itertools.accumulate(len(context.question_ids) for context in contexts))
        self._spans = [
            (context, slice(end - len(context.question_ids), end)) for context, end in zip(contexts, ends, strict=True)
        ]
        self._groups: list[tuple[MixedKV, slice]] = []
        for _, group in itertools.groupby(self._spans, key=lambda part: id(part[0].memory)):
            members = list(group)
            self._groups.append((members[0][0].memory, slice(members[0][1].start, members[-1][1].stop)))
        self._share = contexts[0].model.decoder.config.num_attention_heads // contexts[0].memory.keys_LHTD.shape[1]
        device = contexts[0].memory.keys_LHTD.device
        self._causal = {
            count: torch.full((count, count), -torch.inf, device=device).triu(1).repeat(self._share, 1)[None, None]
            for count in {span.stop - span.start for _, span in self._spans}
        }

    def __call__(
        self, layer: int, queries_QTD: torch.Tensor, keys_HTD: torch.Tensor, values_HTD: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        if layer in self._layers:
            for context, span in self._spans:
                context.queries[layer] = queries_QTD[:, span][:, context.history_tokens :]
        if layer == max(self._layers):
            raise _EnoughError
        queries_HGTD = queries_QTD.unflatten(0, (len(keys_HTD), self._share))
        own = [
            self._attend(queries_HGTD[:, :, span], keys_HTD[:, span], values_HTD[:, span], scaling, causal=True)
            for _, span in self._spans
        ]
        seen = [
            self._attend(queries_HGTD[:, :, span], memory.keys_LHTD[layer], memory.values_LHTD[layer], scaling)
            for memory, span in self._groups
        ]
        out_HGTD = _side_by_side(own).join(_side_by_side(seen)).out_ND
        return out_HGTD.flatten(0, 1).transpose(0, 1).to(queries_QTD.dtype)

    def _attend(
        self,
        queries_HGND: torch.Tensor,
        keys_HMD: torch.Tensor,
        values_HMD: torch.Tensor,
        scaling: float,
        *,
        causal: bool = False,
    ) -> Part:
        """``[H, G, N, D]``: the query heads that share a KV head are just more queries over the same keys."""
        mask = self._causal[queries_HGND.shape[2]] if causal else None
        part = attend(queries_HGND.flatten(1, 2)[None], keys_HMD[None], values_HMD[None], scaling, mask)
        share = queries_HGND.shape[1:3]
        return Part(part.out_ND[0].unflatten(1, share), part.lse_N[0].unflatten(1, share))


def _side_by_side(parts: Sequence[Part]) -> Part:
    """``[H, G, N, D]`` of consecutive tokens as one."""
    if len(parts) == 1:
        return parts[0]
    return Part(torch.cat([part.out_ND for part in parts], 2), torch.cat([part.lse_N for part in parts], 2))
