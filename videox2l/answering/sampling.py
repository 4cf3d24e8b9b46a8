"""From logits to the next token: greedy or sampled, alone or many questions at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import LogitsProcessorList
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

from videox2l.config import GenerationConfig


@dataclass(frozen=True)
class Pick:
    """The chosen token; where asked for, its log probability and the likeliest tokens with theirs, best first."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


# Logits divided by less than this may leave float32; far above it nothing but the likeliest token is left.
_COLDEST = 1e-6


class Sampler:
    """Picks the tokens of one answer. Holds its random numbers, so a seed gives the same answer in any company."""

    def __init__(self, generation: GenerationConfig, device: torch.device) -> None:
        self._logprobs = generation.logprobs
        self._random: torch.Generator | None = None
        if generation.temperature == 0:
            return
        self._warpers = LogitsProcessorList([TemperatureLogitsWarper(float(max(generation.temperature, _COLDEST)))])
        if generation.top_p < 1:
            self._warpers.append(TopPLogitsWarper(generation.top_p))
        self._random = torch.Generator(device)
        if generation.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(generation.seed)

    @property
    def plain(self) -> bool:
        """Whether the likeliest token is all that is wanted."""
        return self._random is None and self._logprobs is None

    def pick(self, logits_V: torch.Tensor) -> Pick:
        token = int(logits_V.argmax()) if self._random is None else self._sample(logits_V, self._random)
        if self._logprobs is None:
            return Pick(token)
        logprobs_V = logits_V.float().log_softmax(-1)
        best = logprobs_V.topk(min(self._logprobs, len(logprobs_V)))
        top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        return Pick(token, float(logprobs_V[token]), top)

    def _sample(self, logits_V: torch.Tensor, random: torch.Generator) -> int:
        # These two warpers look at the scores alone; their first argument, the tokens so far, may be empty.
        nothing_BT = torch.empty(1, 0, dtype=torch.long, device=logits_V.device)
        scores_BV = self._warpers(nothing_BT, logits_V.float()[None])
        return int(torch.multinomial(scores_BV.softmax(-1), 1, generator=random))


def pick_each(samplers: list[Sampler], logits_BV: torch.Tensor) -> list[Pick]:
    """The next token of each answer. One comparison for all that want nothing else: a row a kernel would be slow."""
    best = logits_BV.argmax(-1).tolist()
    return [
        Pick(token) if sampler.plain else sampler.pick(logits_V)
        for sampler, token, logits_V in zip(samplers, best, logits_BV, strict=True)
    ]
