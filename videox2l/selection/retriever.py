"""Relevance as a retriever sees it: the question's vector against those of each chunk, which were made at ingest.

Neither the gist nor the language model is looked at. A chunk counts by its best vector: what was asked for may be seen
in it for a moment only.
"""

from __future__ import annotations

import numpy as np

from videox2l.errors import ConfigError
from videox2l.models.retriever import load_recorded
from videox2l.selection.scorer import QuestionContext


def score_by_retriever(context: QuestionContext) -> list[float]:
    """The largest cosine of the question with any of the chunk's vectors.

    :raises ConfigError: the video was ingested without a retriever.
    :raises UnknownModelError: the retriever is not here.
    :raises FingerprintMismatchError: the retriever of this name has other weights than at the ingest.
    """
    chunks = context.retrieved
    if chunks is None:
        raise ConfigError(
            "select 'retriever': the video was ingested without a retriever. Ingest it again with --retriever and "
            "--replace, or choose another scorer."
        )
    vectors = chunks.read()
    retriever = load_recorded(chunks.identity, context.model)
    cosines_N = np.concatenate(vectors) @ retriever.of_question(context.question)
    ends = np.cumsum([len(vectors_ND) for vectors_ND in vectors])
    best_C: list[float] = np.maximum.reduceat(cosines_N, [0, *ends[:-1]]).tolist()
    return best_C
