"""Fingerprints: which video, which model, which settings. They decide when stored KVs may be used again.

Identity comes from content, never from names: two checkpoints may share a name, and a file may be replaced under its
path. Digests are SHA-256 (the first 128 bits where one becomes an id), because a collision would answer a question
from another video's KVs without anyone noticing.
"""

from __future__ import annotations

import hashlib
import json
import math
import posixpath
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit, urlunsplit

import fsspec
from fsspec.implementations.local import LocalFileSystem

from videox2l.errors import UnreadableVideoError
from videox2l.paths import expanded

ID_LENGTH = 32
"""Hexadecimal digits of an id: 128 bits."""

# Coarse clocks of network file systems tick every second or two.
_SETTLED_S = 5.0

# One ranged request a block on object storage. Larger hardly helps a single stream; smaller pays more round trips.
_READ_BLOCK = 16 * 2**20

# Beyond this a float cannot tell neighbouring integers apart, so it keeps its own notation.
_EXACT_INTEGERS = 2**53


def canonical_json(document: Any) -> bytes:
    """The one byte string all equal documents share: sorted keys, no spaces, ASCII, 1.0 written as 1.

    :raises TypeError: a value is not plain JSON (only string keys, sequences, text, numbers, booleans and None are).
    :raises ValueError: a number is not finite.
    """
    return json.dumps(_plain(document), sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def fingerprint(document: Mapping[str, Any]) -> str:
    """128 bits of SHA-256 over the canonical JSON of ``document``, as 32 hexadecimal digits.

    Equal settings get equal fingerprints however they are written: order of keys, tuple or list, 1 or 1.0.
    """
    return hashlib.sha256(canonical_json(document)).hexdigest()[:ID_LENGTH]


def hash_file(
    source: str | Path | BinaryIO, *, most: int | None = None, storage_options: Mapping[str, Any] | None = None
) -> tuple[str, int]:
    """SHA-256 (64 hexadecimal digits) and size in bytes of a path, any fsspec URL, or an open binary file.

    The whole content is read, streamed in blocks: hashes of heads and tails call two different recordings equal. With
    ``most``, that of the first so many bytes.

    :raises OSError: the source cannot be read.
    """
    if not isinstance(source, str | Path):
        return _hash_stream(source, most)
    filesystem, path = file_system(source, storage_options=storage_options)
    # A cache would only copy every block once more: this reads each byte once, in order.
    with filesystem.open(path, "rb", block_size=_READ_BLOCK, cache_type="none") as stream:
        return _hash_stream(stream, most)


def file_system(
    source: str | Path, *, storage_options: Mapping[str, Any] | None = None
) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or fsspec URL, and the path in it, to be looked up now.

    Several file systems remember whatever this process has listed before, and would go on to show a file that was
    replaced since.

    :raises ImportError: the driver is not installed.
    :raises ValueError: there is no such protocol.
    """
    url = source_url(source)
    if "://" not in url:  # fsspec would take "::" in a name for several addresses
        return LocalFileSystem(**(storage_options or {})), url
    filesystem, path = fsspec.url_to_fs(str(source), **(storage_options or {}))
    filesystem.invalidate_cache(path)
    return filesystem, path


def is_unicode(text: str) -> bool:
    """Whether ``text`` can be written down. Names of files may hold any bytes, which Python keeps as surrogates."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


@dataclass(frozen=True)
class RetrieverIdentity:
    """What compares questions with frames: its name as it was given, a fingerprint of its weights and settings, and the
    dimension of its vectors."""

    name: str
    fingerprint: str
    dimension: int


@dataclass(frozen=True)
class VideoIdentity:
    """Which video KVs belong to.

    ``video_id``: 32 hexadecimal digits of the content's SHA-256. ``name``: the file's name. ``source``: absolute path
    or URL it was read from, without credentials. ``size``: bytes. ``sha256``: 64 hexadecimal digits.
    """

    video_id: str
    name: str
    source: str
    size: int
    sha256: str


def video_identity(source: str | Path, *, storage_options: Mapping[str, Any] | None = None) -> VideoIdentity:
    """Read all of ``source`` (path or fsspec URL) once and say which video it is.

    :raises UnreadableVideoError: missing, not a file, not permitted, empty, or of a name that is not Unicode.
    """
    url = source_url(source)
    if not is_unicode(url):
        raise UnreadableVideoError(f"{url!a}: its name is not valid UTF-8, so nothing can refer to it. Rename it.")
    try:
        digest, size = hash_file(source, storage_options=storage_options)
    except FileNotFoundError as error:
        raise UnreadableVideoError(f"{url}: there is no such file. Check the path.") from error
    except IsADirectoryError as error:
        raise UnreadableVideoError(f"{url} is a folder. Give a video file.") from error
    except (OSError, ImportError, ValueError) as error:
        raise UnreadableVideoError(
            f"{url} cannot be read: {error}. Check the address and your access to it."
        ) from error
    if size == 0:
        raise UnreadableVideoError(f"{url} is empty (0 bytes). Its recording or copying may have failed.")
    return known_identity(source, size, digest)


@dataclass(frozen=True)
class SourceVersion:
    """How a storage tells one content of a file from the next without reading it: bytes and a tag of its own."""

    size: int
    tag: str


def source_version(source: str | Path, *, storage_options: Mapping[str, Any] | None = None) -> SourceVersion | None:
    """The version of a path or fsspec URL, or None where the storage has nothing that changes with every content.

    Object storage and most web servers give an ETag; a weak one (``W/"…"``) allows changes and does not count. Of a
    local file inode, modification and change time are taken: programs can set the second, but not the third. A file
    changed within the last seconds has no version yet, since its next change could fall into the same clock tick.
    """
    if not is_unicode(str(source)):
        return None
    try:
        filesystem, path = file_system(source, storage_options=storage_options)
        info = filesystem.info(path)
    except (OSError, ImportError, ValueError):
        return None  # reading it will say what is wrong
    size = info.get("size")
    if info.get("type") != "file" or not isinstance(size, int):
        return None
    if "ino" in info:
        status = Path(path).stat()
        if time.time() - max(status.st_mtime, status.st_ctime) < _SETTLED_S:
            return None
        return SourceVersion(status.st_size, f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}")
    tag = next((info[name] for name in ("ETag", "etag") if isinstance(info.get(name), str)), None)
    return None if tag is None or tag.startswith("W/") else SourceVersion(size, tag)


def known_identity(source: str | Path, size: int, sha256: str) -> VideoIdentity:
    """The identity of a source whose content is known already."""
    url = source_url(source)
    return VideoIdentity(sha256[:ID_LENGTH], source_name(url), url, size, sha256)


def source_url(source: str | Path) -> str:
    """How a video's source is written down: an absolute path, or its URL without credentials.

    A signed link's query and a user name before the host are secrets or expire; neither belongs into an archive.
    """
    text = str(source).removeprefix("file://")
    if "://" not in text:
        return str(expanded(text).absolute())
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https", "ftp", "sftp", "webdav", "webdavs"):
        return text
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def source_name(url: str) -> str:
    """The file name at the end of a :func:`source_url`."""
    name = posixpath.basename(url.rstrip("/"))
    return unquote(name) if url.startswith(("http://", "https://")) else name


def describe_difference(
    a: Mapping[str, Any], b: Mapping[str, Any], *, labels: tuple[str, str] = ("stored", "asked for")
) -> str:
    """The differences of two nested documents in plain words, one line each; empty if they are equal.

    >>> print(describe_difference({"sampling": {"fps": 1}}, {"sampling": {"fps": 2}}))
    sampling.fps: stored 1, asked for 2
    """
    return "\n".join(_differences("", _plain(a), _plain(b), labels))


def _differences(path: str, a: Any, b: Any, labels: tuple[str, str]) -> list[str]:
    if canonical_json(a) == canonical_json(b):  # unlike ==, it tells True from 1
        return []
    if isinstance(a, dict) and isinstance(b, dict):
        lines: list[str] = []
        for key in sorted(a.keys() | b.keys()):
            name = f"{path}.{key}" if path else key
            if key not in a:
                lines.append(f"{name}: {labels[0]} nothing, {labels[1]} {_shown(b[key])}")
            elif key not in b:
                lines.append(f"{name}: {labels[0]} {_shown(a[key])}, {labels[1]} nothing")
            else:
                lines += _differences(name, a[key], b[key], labels)
        return lines
    return [f"{path}: {labels[0]} {_shown(a)}, {labels[1]} {_shown(b)}"]


def _shown(value: Any) -> str:
    # A nested document on one side only would flood the line; its beginning says what it is.
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else text[:117] + "…"


def _plain(value: Any) -> Any:
    """``value`` as JSON types in one notation, so that equal settings compare and hash equal."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no place in a document: JSON knows finite numbers only")
        return int(value) if value.is_integer() and abs(value) < _EXACT_INTEGERS else value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"keys of a document must be text, got {key!r}")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} is not a JSON value: {value!r}")


def _hash_stream(stream: BinaryIO, most: int | None) -> tuple[str, int]:
    digest = hashlib.sha256()
    size = 0
    while block := stream.read(_READ_BLOCK if most is None else min(_READ_BLOCK, most - size)):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size
