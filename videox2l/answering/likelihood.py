"""How likely a given answer is behind a memory: what leaving out a chunk is measured by."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from videox2l.answering.dialogue import Dialogue, check_text
from videox2l.kv import MixedKV
from videox2l.models import KVCompressibleModel
from videox2l.models.cache import to_cache


def text_ids(model: KVCompressibleModel, answer: str) -> list[int]:
    """Token ids of an answer's text, without the end of its turn.

    :raises QuestionError: it has what is no character.
    """
    check_text(answer)
    ids = model.answer_ids(answer)
    # Control tokens written in a text are plain text, so the first that stops is the end.
    end = next((place for place, token in enumerate(ids) if token in model.stop_ids), len(ids))
    return ids[:end]


@torch.inference_mode()
def logprob(model: KVCompressibleModel, memory: MixedKV, dialogue: Dialogue, answer_ids: Sequence[int]) -> float:
    """Natural logarithm of the probability that the answer to ``dialogue`` over ``memory`` begins with these tokens."""
    if not answer_ids:
        return 0.0
    device: torch.device = model.decoder.device
    ids_BT = torch.tensor([[*dialogue.ids, *answer_ids]], device=device)
    # The logits at a token are about the next one, so the last token's are not needed, and the question's last are.
    kept = len(answer_ids) + 1
    logits_TV = model.decoder(ids_BT, past_key_values=to_cache(memory), logits_to_keep=kept).logits[0, :-1]
    logprobs_TV = logits_TV.float().log_softmax(-1)
    return float(logprobs_TV.gather(-1, torch.tensor(answer_ids, device=device)[:, None]).sum())
