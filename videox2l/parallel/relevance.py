"""Attention scores of a model whose heads lie on several ranks: each scores its own, then they are put together."""

from __future__ import annotations

import itertools

import torch

from videox2l.errors import ConfigError
from videox2l.models.cache import to_cache
from videox2l.parallel.model import ShardedVideoXL
from videox2l.scorers import REGISTERED
from videox2l.selection import SCORERS, QuestionContext, Scorer
from videox2l.selection.attention import attention_weights, chunk_scores, score_by_attention
from videox2l.selection.question import relevance_heads


@torch.inference_mode()
def score_over_ranks(context: QuestionContext) -> list[float]:
    """As :func:`~videox2l.selection.attention.score_by_attention`, which it calls for a model that is whole."""
    model, memory = context.model, context.memory
    if not isinstance(model, ShardedVideoXL):
        return score_by_attention(context)
    how = relevance_heads(model)
    heads = sorted(how.heads)
    ids_BT = torch.tensor([context.question_ids], device=memory.keys_LHTD.device)
    decoder = model.decoder.base_model
    hidden_states = decoder(ids_BT, past_key_values=to_cache(memory), output_hidden_states=True).hidden_states
    # Other ranks' heads stay 0, so that the sum over ranks is every head's own score, to the bit.
    scores_QC = torch.zeros(len(heads), context.chunks, device=memory.keys_LHTD.device)
    mine = model.query_heads
    for layer, group in itertools.groupby(range(len(heads)), key=lambda row: heads[row][0]):
        rows = [row for row in group if heads[row][1] in mine]
        if rows:
            queries_QTD = model.queries(layer, hidden_states[layer][0], memory.tokens)[:, context.history_tokens :]
            local = [heads[row][1] - mine.start for row in rows]
            weights_QTM = attention_weights(queries_QTD, local, memory.keys_LHTD[layer])
            scores_QC[rows] = chunk_scores(weights_QTM, memory, how)
    return model.ranks.add(scores_QC).mean(0).tolist()


def _refuse_over_ranks(name: str, scorer: Scorer) -> Scorer:
    def score(context: QuestionContext) -> list[float]:
        if isinstance(context.model, ShardedVideoXL):
            raise ConfigError(f"select {name!r} needs all heads on one device: use attention with this model")
        return scorer(context)

    return score


# A question asks for a scorer by name, and on a sharded model the plain ones would take the wrong heads. Those that
# look at none are as they are; a new one is refused until its entry says that it does not.
SCORERS["attention"] = score_over_ranks
for _name, _entry in REGISTERED.items():
    if _name != "attention" and not _entry.without_heads:
        SCORERS[_name] = _refuse_over_ranks(_name, SCORERS[_name])
