"""Token by token on the stock model: greedy or sampled, with text given out as soon as it is certain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import DynamicCache, LogitsProcessorList, PreTrainedModel
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

from videox2l.config import GenerationConfig


def generate(
    decoder: PreTrainedModel, ids: list[int], cache: DynamicCache, generation: GenerationConfig, stop: frozenset[int]
) -> Iterator[int]:
    """Yield answer tokens after the question ``ids`` behind ``cache`` (which grows), without the stop token itself.

    Ends without a stop token after ``generation.max_new_tokens``.
    """
    pick = _picker(generation, decoder.device)
    next_T = torch.tensor(ids, device=decoder.device)
    for _ in range(generation.max_new_tokens):
        with torch.inference_mode():
            logits_V = decoder(next_T[None], past_key_values=cache, logits_to_keep=1).logits[0, -1]
        token = pick(logits_V)
        if token in stop:
            return
        yield token
        next_T = next_T.new_tensor([token])


def _picker(generation: GenerationConfig, device: torch.device) -> Callable[[torch.Tensor], int]:
    if generation.temperature == 0:
        return lambda logits_V: int(logits_V.argmax())
    warpers = LogitsProcessorList([TemperatureLogitsWarper(generation.temperature)])
    if generation.top_p < 1:
        warpers.append(TopPLogitsWarper(generation.top_p))
    random = torch.Generator(device)
    if generation.seed is None:
        random.seed()
    else:
        random.manual_seed(generation.seed)

    def sample(logits_V: torch.Tensor) -> int:
        # These two warpers look at the scores alone; their first argument, the tokens so far, may be empty.
        scores_BV = warpers(torch.empty(1, 0, dtype=torch.long, device=device), logits_V.float()[None])
        return int(torch.multinomial(scores_BV.softmax(-1), 1, generator=random))

    return sample


class TextStream:
    """Turn tokens into text that never has to be taken back: a token may hold part of a character."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self.text = ""

    def push(self, token: int) -> str:
        """The new certain text after ``token``; empty while a character is incomplete."""
        self._ids.append(token)
        text = self._decode()
        return "" if text.endswith("\N{REPLACEMENT CHARACTER}") else self._advance(text)

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        return self._advance(self._decode())

    def _decode(self) -> str:
        return self._tokenizer.decode(self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _advance(self, text: str) -> str:
        new, self.text = text[len(self.text) :], text
        return new
