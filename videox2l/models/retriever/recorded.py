"""The retriever by which an index knows its chunks, found again by what the index says of it.

Nothing is downloaded: a name that an archive gives must not make anyone do so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from videox2l.errors import FingerprintMismatchError, UnknownModelError
from videox2l.identity import RetrieverIdentity
from videox2l.models.protocol import KVCompressibleModel
from videox2l.models.registry import find_checkpoint
from videox2l.models.retriever.retriever import OWN, Retriever, load_retriever


def load_recorded(recorded: RetrieverIdentity, model: KVCompressibleModel) -> Retriever:
    """The retriever that ``recorded`` names.

    :raises UnknownModelError: it is not here.
    :raises CheckpointError: it is no CLIP or SigLIP any more, or not sound.
    :raises FingerprintMismatchError: it has other weights or settings than at the ingest.
    """
    with _saying_which(recorded):
        retriever = load_retriever(recorded.name, model, download=False)
    _check_same(recorded, retriever.identity.fingerprint)
    return retriever


def check_recorded(recorded: RetrieverIdentity, model_fingerprint: str) -> None:
    """Find out without loading weights whether :func:`load_recorded` would find it; errors as there.

    ``model_fingerprint``: of the language model.
    """
    if recorded.name == OWN:
        _check_same(recorded, model_fingerprint)
        return
    from videox2l.models.retriever.clip import check_kind, folder_fingerprint

    with _saying_which(recorded):
        folder = find_checkpoint(recorded.name, download=False)
    check_kind(folder, recorded.name)
    _check_same(recorded, folder_fingerprint(folder))


@contextmanager
def _saying_which(recorded: RetrieverIdentity) -> Iterator[None]:
    try:
        yield
    except UnknownModelError as error:
        raise UnknownModelError(
            f"the retriever {recorded.name}, with which the video was ingested, is not here: bring it back to that "
            f"place ({error})"
        ) from error


def _check_same(recorded: RetrieverIdentity, fingerprint: str) -> None:
    if fingerprint != recorded.fingerprint:
        raise FingerprintMismatchError(
            f"the retriever {recorded.name} has other weights or settings here than when the video was ingested: bring "
            "back the old ones, or ingest the video again with --retriever and --replace"
        )
