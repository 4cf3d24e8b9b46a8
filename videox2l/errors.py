"""One exception tree. Every message says what was wrong, where, and what to do about it.

Anything derived from :class:`VideoX2LError` is the user's to read: the command line prints the message without a
traceback and the service turns it into a 4xx (``http_status``). Anything else is a bug of ours.
"""

from __future__ import annotations

from typing import ClassVar


class VideoX2LError(Exception):
    """Base of every error a user can cause or repair. ``http_status`` is what the service answers with."""

    http_status: ClassVar[int] = 400


class ConfigError(VideoX2LError):
    """A setting has an impossible value."""


class VideoError(VideoX2LError):
    """A video file cannot be used. The message names the file."""


class UnreadableVideoError(VideoError):
    """The file is missing, empty, or not something the decoder understands."""


class NoVideoStreamError(VideoError):
    """The file opens but has no video stream (audio only, subtitles only)."""


class TruncatedVideoError(VideoError):
    """The file ends before its header says it should, or a part of it does not decode."""


class SourceChangedError(VideoX2LError):
    """A file was overwritten or removed while it was read, so nobody knows which video its frames are of."""


class ModelError(VideoX2LError):
    """A model cannot be loaded or does not fit what is asked of it."""


class UnknownModelError(ModelError):
    """No registered backend, local folder or hub id answers to this model name."""


class CheckpointError(ModelError):
    """A checkpoint folder is incomplete, has unexpected tensors, or holds only pickles."""


class InsufficientMemoryError(ModelError):
    """A model, or a prefill on it, does not fit a device's memory. The message says what would."""


class ArchiveError(VideoX2LError):
    """An archive cannot be read or written."""


class ArchiveNotFoundError(ArchiveError):
    """There is no archive at this URL."""

    http_status = 404


class ArchiveFormatError(ArchiveError):
    """The archive was written in another format version, or one of its documents does not parse."""

    http_status = 409


class ArchiveNotWritableError(ArchiveError):
    """The archive's storage refused a write."""


class FingerprintMismatchError(ArchiveError):
    """Stored KVs were made by another model, or with other settings, than the ones asked for."""

    http_status = 409


class VideoNotFoundError(ArchiveError):
    """No committed index in the archive for this video."""

    http_status = 404


class AlreadyCommittedError(ArchiveError):
    """Another writer committed this very index first. Nothing is lost: its KVs are as good as ours."""

    http_status = 409


class CorruptDataError(ArchiveError):
    """Stored bytes are not what the manifest says was written. Never answered from."""

    http_status = 500


class QuestionError(VideoX2LError):
    """A question cannot be asked as it stands."""


class QuestionTooLongError(QuestionError):
    """Question, mixed KVs and answer together exceed the model's context."""
