"""Relevance in two steps: begin to answer from the gist, and see where the answer's own tokens look.

A question's words name what is asked about; the answer's often stand where it is. Costs the forward passes of a few
tokens in front of those of the real answer.
"""

from __future__ import annotations

import dataclasses

import torch

from videox2l.models.cache import to_cache
from videox2l.selection.attention import score_by_attention
from videox2l.selection.scorer import QuestionContext

# Tokens of the answer that are looked at: a short answer whole, of a long one enough to name what it is about.
DRAFT_TOKENS = 8


def score_in_two_steps(context: QuestionContext) -> list[float]:
    """Attention of a draft answer's tokens, in place of the question's; of the question where the draft is empty."""
    draft = _draft(context)
    if not draft:
        return score_by_attention(context)
    ids = [*context.question_ids, *draft]
    asking = dataclasses.replace(context, question_ids=ids, history_tokens=len(context.question_ids))
    return score_by_attention(asking)


@torch.inference_mode()
def _draft(context: QuestionContext) -> list[int]:
    """The first tokens of the greedy answer over the gist."""
    decoder, cache = context.model.decoder, to_cache(context.memory)
    ids_BT = torch.tensor([context.question_ids], device=decoder.device)
    draft: list[int] = []
    while len(draft) < DRAFT_TOKENS:
        token = int(decoder(ids_BT, past_key_values=cache, logits_to_keep=1).logits[0, -1].argmax())
        if token in context.model.stop_ids:
            break
        draft.append(token)
        ids_BT = torch.tensor([[token]], device=decoder.device)
    return draft
