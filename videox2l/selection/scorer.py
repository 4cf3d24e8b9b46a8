"""What a relevance scorer is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from videox2l.identity import RetrieverIdentity
from videox2l.kv import MixedKV
from videox2l.models import KVCompressibleModel


@dataclass(frozen=True)
class Retrieved:
    """What a retriever has made of the chunks that are to be chosen from; ``read()``: of each ``[n, dimension]``."""

    identity: RetrieverIdentity
    read: Callable[[], Sequence[np.ndarray]]


@dataclass(frozen=True)
class QuestionContext:
    """A question in front of a video's gist: ``memory`` is the mix of every chunk's high KVs.

    Of ``question_ids`` the first ``history_tokens`` are earlier turns: they say what a follow-up is about, but are not
    what is asked. ``question``: the text. ``retrieved``: of these chunks, where the archive has it.
    """

    model: KVCompressibleModel
    question_ids: list[int]
    memory: MixedKV
    history_tokens: int = 0
    question: str = ""
    retrieved: Retrieved | None = None
    queries: dict[int, torch.Tensor] = field(init=False, default_factory=dict, compare=False, repr=False)
    """Of the question's own tokens by layer, rotated, ``[Q, T, D]``, once they were computed: see ``question.py``."""

    @property
    def chunks(self) -> int:
        return len(self.memory.chunk_slices)


class Scorer(Protocol):
    """Rate every chunk's relevance to a question; higher is more relevant. One small file each."""

    def __call__(self, context: QuestionContext) -> list[float]:
        """One score a chunk, in time order."""
