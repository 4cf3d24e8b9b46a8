"""Relevance as the model's own attention: how much a question looks at each chunk's high KVs.

The question runs once over the gist. In the layers that matter, its tokens' attention weights are summed over a
chunk's memory tokens and divided by their number, since the first and the last chunk keep more tokens than the others.

Few heads find the right chunk; most look elsewhere, and their sum finds it less often than the best head alone. So a
checkpoint may carry calibrated heads (``relevance.json``); without it all heads count alike.
"""

from __future__ import annotations

import torch

from videox2l.kv import MixedKV
from videox2l.models.cache import to_cache
from videox2l.selection.scorer import QuestionContext


@torch.inference_mode()
def score_by_attention(context: QuestionContext) -> list[float]:
    """Mean attention a memory token of each chunk gets from the question, averaged over heads and question tokens."""
    model, memory = context.model, context.memory
    heads = model.relevance_heads or all_heads(model)
    ids_BT = torch.tensor([context.question_ids], device=memory.keys_LHTD.device)
    hidden_states = model.decoder(ids_BT, past_key_values=to_cache(memory), output_hidden_states=True).hidden_states
    total_C = torch.zeros(context.chunks, device=memory.keys_LHTD.device)
    for layer in sorted({layer for layer, _ in heads}):
        queries_QTD = model.queries(layer, hidden_states[layer][0], memory.tokens)
        chosen = [head for head_layer, head in heads if head_layer == layer]
        total_C += attention_per_chunk(queries_QTD[chosen], chosen, layer, memory, queries_QTD.shape[0])
    return (total_C / len(heads)).tolist()


def attention_per_chunk(
    queries_QTD: torch.Tensor, heads: list[int], layer: int, memory: MixedKV, query_heads: int
) -> torch.Tensor:
    """``[C]``: softmax attention over the memory, mean over question tokens and a chunk's tokens, sum over ``heads``.

    Weights are normalised over the memory alone (the question's own tokens are left out), which only scales the scores
    of one head against another's.
    """
    keys_HTD = memory.keys_LHTD[layer]
    groups = query_heads // keys_HTD.shape[0]
    keys_QTD = keys_HTD[[head // groups for head in heads]]
    weights_QTM = torch.softmax((queries_QTD @ keys_QTD.mT).float() * queries_QTD.shape[-1] ** -0.5, dim=-1)
    received_M = weights_QTM.mean(dim=1).sum(dim=0)
    return torch.stack(
        [
            received_M[part].mean() if part.stop > part.start else received_M.new_zeros(())
            for part in memory.chunk_slices
        ]
    )


def all_heads(model: object) -> list[tuple[int, int]]:
    """Every (layer, query head) of the model's decoder."""
    config = model.decoder.config  # type: ignore[attr-defined]
    return [(layer, head) for layer in range(config.num_hidden_layers) for head in range(config.num_attention_heads)]
