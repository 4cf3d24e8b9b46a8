"""A retriever beside a model that is spread over ranks: rank 0 has it, and the others wait for what it makes."""

from __future__ import annotations

import numpy as np
import torch

from videox2l.identity import RetrieverIdentity
from videox2l.models.retriever import Retriever
from videox2l.parallel.ranks import Ranks


def share_retriever(ranks: Ranks, retriever: Retriever | None) -> LedRetriever | None:
    """Rank 0's ``retriever`` on every rank; None where rank 0 has none. A collective."""
    identity = ranks.lead(lambda: None if retriever is None else retriever.identity)
    return None if identity is None else LedRetriever(ranks, retriever, identity)


class LedRetriever:
    """A :class:`~videox2l.models.retriever.Retriever` whose methods are collectives: an error of rank 0 is everyone's.

    A rank that failed alone would leave the others inside the collective that comes next.
    """

    def __init__(self, ranks: Ranks, retriever: Retriever | None, identity: RetrieverIdentity) -> None:
        """``retriever`` is rank 0's."""
        self.identity = identity
        self._ranks = ranks
        self._retriever = retriever

    @property
    def _leader(self) -> Retriever:
        assert self._retriever is not None, "rank 0 has it"
        return self._retriever

    def of_chunk(self, frames_FHWC: np.ndarray, visual_tokens_TN: torch.Tensor) -> np.ndarray:
        """``[n, dimension]`` float32, as rank 0 sees the chunk."""
        return self._ranks.lead(lambda: self._leader.of_chunk(frames_FHWC, visual_tokens_TN))

    def of_question(self, question: str) -> np.ndarray:
        """``[dimension]`` float32, as rank 0 sees the question."""
        return self._ranks.lead(lambda: self._leader.of_question(question))
