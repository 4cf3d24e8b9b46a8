"""Relevance as the model's own attention: how much a question looks at each chunk's high KVs.

The question runs once over the gist, and the attention weights of its tokens on a chunk's memory tokens become that
chunk's score. Few heads find the right chunk; most look elsewhere, and their sum finds it less often than the best head
alone. So a checkpoint may carry calibrated heads (``relevance.json``); without it all heads count alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch

from videox2l.kv import MixedKV
from videox2l.models import KVCompressibleModel, RelevanceHeads
from videox2l.models.cache import to_cache
from videox2l.selection.scorer import QuestionContext


@torch.inference_mode()
def score_by_attention(context: QuestionContext) -> list[float]:
    """One score a chunk: attention of the question on its memory tokens, averaged over the model's relevance heads."""
    model, memory = context.model, context.memory
    how = model.relevance_heads or all_heads(model)
    ids_BT = torch.tensor([context.question_ids], device=memory.keys_LHTD.device)
    # The bare decoder: no logits are needed. hidden_states[l] is what enters layer l.
    decoder = model.decoder.base_model
    hidden_states = decoder(ids_BT, past_key_values=to_cache(memory), output_hidden_states=True).hidden_states
    scores = []
    for layer, layer_heads in itertools.groupby(sorted(how.heads), key=lambda pair: pair[0]):
        queries_QTD = model.queries(layer, hidden_states[layer][0], memory.tokens)[:, context.history_tokens :]
        weights_QTM = attention_weights(queries_QTD, [head for _, head in layer_heads], memory.keys_LHTD[layer])
        scores.append(chunk_scores(weights_QTM, memory, how))
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


def all_heads(model: KVCompressibleModel) -> RelevanceHeads:
    """Every query head of every layer, for a model that was not calibrated."""
    config = model.decoder.config
    pairs = itertools.product(range(config.num_hidden_layers), range(config.num_attention_heads))
    return RelevanceHeads(tuple(pairs))
