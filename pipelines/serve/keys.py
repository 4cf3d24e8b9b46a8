"""API keys: who may ask about which videos, how often, and what else they may do.

A key is 256 random bits, so the file keeps their plain SHA-256: it can neither be guessed nor looked up in tables,
which slow, salted hashes are there to prevent, and a check takes microseconds rather than a tenth of a second.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from videox2l.errors import ConfigError
from videox2l.store.local import locked, write_atomically
from videox2l.store.metadata import MetadataValue

logger = logging.getLogger("ray.serve")

# So that a key that turns up in a log or a repository is recognised.
PREFIX = "videox2l-"

# A key that is removed stops working after so many seconds at most; looking costs a system call.
_LOOK_EVERY_S = 1.0

Name = Annotated[str, Field(pattern=r"^[\w.@-]{1,64}$")]


class ApiKey(BaseModel):
    """One key, without the key itself.

    ``videos``: globs over ids and names of the videos it sees, ``metadata``: values they must have; empty allows all.
    ``ingest_from``: folders and URL prefixes that it may ingest from. ``tokens_per_minute`` counts what answers say in
    ``usage.total_tokens``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    created: str
    videos: tuple[str, ...] = ()
    metadata: dict[str, MetadataValue] = {}
    ingest_from: tuple[str, ...] = ()
    delete: bool = False
    metrics: bool = False
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    keys: list[ApiKey] = []


def new_key(name: str, **rights: object) -> tuple[str, ApiKey]:
    """A key, to be shown once, and what is kept of it. ``rights`` are fields of :class:`ApiKey`.

    :raises ConfigError: they are impossible.
    """
    text = PREFIX + secrets.token_urlsafe(32)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        return text, ApiKey(name=name, sha256=digest(text), created=created, **rights)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error


def digest(text: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(text.encode()).hexdigest()


def find_key(keys: Sequence[ApiKey], text: str) -> ApiKey | None:
    """The key that ``text`` is. Takes as long whichever it is."""
    wanted, found = digest(text), None
    for key in keys:
        if hmac.compare_digest(key.sha256, wanted):
            found = key
    return found


def read_keys(path: Path) -> list[ApiKey]:
    """All keys of a file.

    :raises ConfigError: there is no such file, or it is not sound.
    """
    try:
        return _Document.model_validate_json(path.read_bytes()).keys
    except OSError as error:
        raise ConfigError(
            f"the key file {path} cannot be read: {error.strerror}. `videox2l keys add` makes one."
        ) from error
    except ValidationError as error:
        raise ConfigError(f"{path} is no key file: {error.errors()[0]['msg']}. `videox2l keys` manages it.") from error


def change_keys(path: Path, change: Callable[[list[ApiKey]], list[ApiKey]]) -> None:
    """Replace the file's keys by what ``change`` makes of them; a file that is missing has none.

    :raises ConfigError: it cannot be read or written, or is not sound.
    """
    try:
        with locked(path):
            keys = change(read_keys(path) if path.exists() else [])
            write_atomically(path, _Document(keys=keys).model_dump_json(indent=1).encode(), exclusive=False)
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be written: {error}") from error


class KeyFile:
    """The keys of a file as it is now. Damaged or missing, the keys that were read last stay in force."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        # In this order: a change between the two is read twice rather than missed.
        self._version = self._look()
        self._keys = read_keys(path)
        self._look_at = clock() + _LOOK_EVERY_S

    def keys(self) -> Sequence[ApiKey]:
        """Read anew where the file has changed."""
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + _LOOK_EVERY_S
            version = self._look()
            if version != self._version:
                self._version = version
                self._reload()
        return self._keys

    def _reload(self) -> None:
        try:
            self._keys = read_keys(self._path)
        except ConfigError as error:
            logger.error("The keys that were read before stay in force: %s", error)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self._path)  # noqa: PTH116 -- follows the links by which Kubernetes swaps a Secret
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
