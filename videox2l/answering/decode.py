"""One answer, token by token on the stock model with a stock cache: what decoding many at once is checked against."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from transformers import DynamicCache, PreTrainedModel

from videox2l.answering.sampling import Pick, Sampler
from videox2l.config import GenerationConfig


def generate(
    decoder: PreTrainedModel, ids: list[int], cache: DynamicCache, generation: GenerationConfig, stop: frozenset[int]
) -> Iterator[Pick]:
    """Yield answer tokens after the question ``ids`` behind ``cache`` (which grows), without the stop token itself.

    Ends without a stop token after ``generation.max_new_tokens``.
    """
    sampler = Sampler(generation, decoder.device)
    next_T = torch.tensor(ids, device=decoder.device)
    for _ in range(generation.max_new_tokens):
        with torch.inference_mode():
            logits_V = decoder(next_T[None], past_key_values=cache, logits_to_keep=1).logits[0, -1]
        pick = sampler.pick(logits_V)
        if pick.token in stop:
            return
        yield pick
        next_T = next_T.new_tensor([pick.token])
