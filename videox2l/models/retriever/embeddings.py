"""The language model's own embedding space: its visual tokens against its embeddings of a question's tokens."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from videox2l.identity import RetrieverIdentity
from videox2l.models.protocol import KVCompressibleModel
from videox2l.models.retriever.pieces import PIECES


class EmbeddingRetriever:
    """Means of visual tokens in four parts of a chunk, and of a question's token embeddings.

    Costs next to nothing. Visual tokens need not lie where words lie, though: measure before relying on it.
    """

    def __init__(self, model: KVCompressibleModel) -> None:
        self._model = model
        dimension = model.decoder.get_input_embeddings().weight.shape[1]
        self.identity = RetrieverIdentity("own", model.identity.fingerprint, dimension)

    def of_chunk(self, frames_FHWC: np.ndarray, visual_tokens_TN: torch.Tensor) -> np.ndarray:
        # Behind its embedding, a row may hold what a model adds in its first layers.
        seen_TN = visual_tokens_TN[:, : self.identity.dimension].float()
        parts = seen_TN.tensor_split(min(PIECES, len(frames_FHWC)))
        means_PN = torch.stack([part.mean(0) for part in parts])
        found: np.ndarray = F.normalize(means_PN, dim=-1).cpu().numpy()
        return found

    @torch.inference_mode()
    def of_question(self, question: str) -> np.ndarray:
        ids = self._model.tokenizer(question, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        weight = self._model.decoder.get_input_embeddings().weight
        ids_1T = torch.tensor([ids], device=weight.device)
        mean_N: np.ndarray = F.embedding_bag(ids_1T, weight, mode="mean")[0].float().cpu().numpy()
        found: np.ndarray = mean_N / max(float(np.linalg.norm(mean_N)), 1e-12)
        return found
