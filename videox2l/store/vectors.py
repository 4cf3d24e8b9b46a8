"""Vectors by which a retriever knows a chunk: unit vectors in float16, row by row, beside the KVs."""

from __future__ import annotations

import numpy as np

from videox2l.errors import ConfigError, CorruptDataError
from videox2l.identity import RetrieverIdentity
from videox2l.store.attachments import read_attachments
from videox2l.store.manifest import Manifest
from videox2l.store.storage import Storage

# Little-endian on any machine. Cosines of unit vectors are then off by less than 0.001.
_DTYPE = np.dtype("<f2")


def encode_vectors(vectors_ND: np.ndarray, retriever: RetrieverIdentity | None) -> bytes:
    """``[n, dimension]`` of ``retriever`` as bytes.

    :raises ValueError: they are not of its kind.
    """
    if retriever is None or vectors_ND.ndim != 2 or vectors_ND.shape[1] != retriever.dimension or not len(vectors_ND):
        raise ValueError(f"vectors of shape {vectors_ND.shape} are none of {retriever}")
    return vectors_ND.astype(_DTYPE).tobytes()


def read_vectors(storage: Storage, manifest: Manifest) -> list[np.ndarray]:
    """Of each chunk ``[n, dimension]`` in float32, verified, in one go.

    :raises ConfigError: the index has none.
    :raises CorruptDataError: some are missing, or not what was written.
    """
    stored = {chunk.index: chunk.vectors for chunk in manifest.chunks if chunk.vectors is not None}
    retriever = manifest.retriever
    if retriever is None or len(stored) < len(manifest.chunks):
        raise ConfigError(
            f"{manifest.video.name} was ingested without a retriever: ingest it again with --retriever and --replace, "
            "or choose another scorer with --select."
        )
    row_bytes = retriever.dimension * _DTYPE.itemsize
    found = read_attachments(storage, manifest, stored, "vectors")
    if any(len(data) % row_bytes or not data for data in found):
        raise CorruptDataError(
            f"{manifest.path}: its vectors are not of dimension {retriever.dimension}. Ingest again."
        )
    return [np.frombuffer(data, _DTYPE).astype(np.float32).reshape(-1, retriever.dimension) for data in found]
