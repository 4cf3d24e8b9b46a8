"""Videos that ingests leave alone, because they fail by their own fault each time, and cost something each time.

The record is the archive's, one for each index of a content (``quarantine/<video id>-<index_fp>.json``, with the id
that the content has by itself, also where it continues a recording): other settings, another model, or a file with
other content are tried as if nothing had been.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipelines.ingest.isolation import DecoderCrashedError, DecoderTimeoutError
from videox2l.errors import (
    ArchiveError,
    ArchiveFormatError,
    CorruptDataError,
    ModelError,
    TruncatedVideoError,
)
from videox2l.identity import ID_LENGTH, VideoIdentity
from videox2l.store import Archive, documents, layout
from videox2l.store.documents import seal, unseal

logger = logging.getLogger(__name__)

TRIES = 2
"""How often a video may take down, hang, or fail what reads it before it is left alone. Once may be the machine's
fault: memory that ran out, a disk or network that returned half of a file."""

_PACKAGES = ("videox2l", "av", "torch", "transformers")


class PrefillWorkerLostError(ModelError):
    """Every process that prefilled this video died in it, without getting any further."""


@dataclass(frozen=True)
class Record:
    """Why a video is left alone. Times are ISO 8601, UTC; ``software`` maps package to version, of the last try."""

    video_id: str
    index_fp: str
    name: str
    source: str
    error_type: str
    reason: str
    tries: int
    first: str
    last: str
    software: dict[str, str]

    @property
    def in_force(self) -> bool:
        """Whether the video is left alone; one more try is due otherwise."""
        return self.tries >= TRIES

    def __str__(self) -> str:
        return (
            f"is in quarantine since {self.last}, after {self.tries} tries: {self.reason} To try it again, give "
            "--retry-quarantined; another file or other settings are tried anyway"
        )


def tries_of(error: BaseException, source: str) -> int:
    """How many tries a failure stands for that is the video's own fault; 0 for any other.

    A file that cannot be opened at all is not among them: it costs next to nothing to find that out again, and may be
    the network's doing.
    """
    if isinstance(error, DecoderTimeoutError):
        return 1 if "://" in source else TRIES  # a remote file's storage may have been what was silent, both times
    if isinstance(error, DecoderCrashedError | PrefillWorkerLostError):
        return TRIES  # it was tried again at once, in another process
    return 1 if type(error) is TruncatedVideoError else 0


def find(archive: Archive, video: VideoIdentity, index_fp: str) -> Record | None:
    """What is known against this index of a video. One request.

    :raises ArchiveError: the storage does not answer.
    """
    path = _path(video, index_fp)
    try:
        document = unseal(archive.storage.read(path), path)
        names = {field.name for field in dataclasses.fields(Record)}
        kinds: dict[str, type[Any]] = {"tries": int, "software": dict}
        fields = {name: documents.field(document, name, kinds.get(name, str), path) for name in names}
        return Record(**fields)
    except FileNotFoundError:
        return None
    except (ArchiveFormatError, CorruptDataError) as error:
        logger.warning("Counts as no quarantine: %s", error)
        return None


def note(archive: Archive, video: VideoIdentity, index_fp: str, error: BaseException) -> Record | None:
    """Record ``error`` if it is the video's own fault. Failing to is no error: it is then noted the next time."""
    tries = tries_of(error, video.source)
    if not tries:
        return None
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        known = find(archive, video, index_fp)
        record = Record(
            _content_id(video),
            index_fp,
            video.name,
            video.source,
            type(error).__name__,
            str(error),
            tries + (known.tries if known is not None else 0),
            known.first if known is not None else now,
            now,
            {package: importlib.metadata.version(package) for package in _PACKAGES},
        )
        archive.storage.write(_path(video, index_fp), seal(dataclasses.asdict(record)))
    except ArchiveError as problem:
        logger.warning("The quarantine of %s could not be noted: %s", video.name, problem)
        return None
    return record


def release(archive: Archive, video: VideoIdentity, index_fp: str) -> None:
    """Forget what is known against a video, which was ingested after all. Failing to is no error."""
    try:
        archive.storage.delete(_path(video, index_fp))
    except ArchiveError as error:
        logger.warning("%s", error)


def _path(video: VideoIdentity, index_fp: str) -> str:
    return layout.quarantine(_content_id(video), index_fp)


def _content_id(video: VideoIdentity) -> str:
    return video.sha256[:ID_LENGTH]
