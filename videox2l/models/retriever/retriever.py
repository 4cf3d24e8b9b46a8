"""What a retriever is, and how one is found by its name."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
import torch

from videox2l.identity import RetrieverIdentity
from videox2l.models.protocol import KVCompressibleModel
from videox2l.models.registry import find_checkpoint

OWN = "own"
"""The name of the retriever that is the language model itself: its embeddings of question and visual tokens."""


class Retriever(Protocol):
    """Gives unit vectors of a chunk and of a question; the larger their product, the more they have in common."""

    @property
    def identity(self) -> RetrieverIdentity:
        """Vectors of different ones cannot be compared."""

    def of_chunk(self, frames_FHWC: np.ndarray, visual_tokens_TN: torch.Tensor) -> np.ndarray:
        """``[n, dimension]`` float32 of a chunk: its uint8 RGB frames, and the language model's visual tokens."""

    def of_question(self, question: str) -> np.ndarray:
        """``[dimension]`` float32."""


def load_retriever(name: str, model: KVCompressibleModel, *, download: bool = True) -> Retriever:
    """The retriever ``name``: :data:`OWN`, a checkpoint folder of a CLIP or SigLIP, or a hub id. Kept for later calls.

    ``download``: whether a hub id may be fetched now. A name that an archive gives must not make anyone do so.

    :raises UnknownModelError: there is none.
    :raises CheckpointError: it is no CLIP or SigLIP, or not sound.
    """
    if name == OWN:
        from videox2l.models.retriever.embeddings import EmbeddingRetriever

        return EmbeddingRetriever(model)
    return _load_clip(name, str(model.decoder.device), download)


def check_retriever(name: str) -> None:
    """Find out without loading weights whether there is such a retriever; errors as of :func:`load_retriever`."""
    if name != OWN:
        from videox2l.models.retriever.clip import check_kind

        check_kind(find_checkpoint(name), name)


# Loading takes seconds, and a service would do it with each question.
@lru_cache(maxsize=2)
def _load_clip(name: str, device: str, download: bool) -> Retriever:
    from videox2l.models.retriever.clip import ClipRetriever

    return ClipRetriever(find_checkpoint(name, download=download), name, torch.device(device))
