"""Readable JSON documents that notice damage: the last line of each is a checksum of every byte before it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

import xxhash

from videox2l.errors import ArchiveFormatError, CorruptDataError

FORMAT_VERSION = 1
"""Version of the archive layout. Raised when an older reader would misread what a newer writer stores."""

MAX_BYTES = 2**28
"""Documents above 256 MiB are refused before they are parsed: a manifest needs about 400 bytes a chunk, so this is some
months of video, and more could exhaust a reader's memory."""

_END = re.compile(rb'"checksum": "([0-9a-f]{32})"\n}\n\Z')
_LINE_END = re.compile(rb'"checksum": "([0-9a-f]{32})"}\Z')
_END_LENGTH = len(b'"checksum": ""\n}\n') + 32

T = TypeVar("T")


Checksum = xxhash.xxh3_128
"""What :func:`checksum` computes, in pieces: ``update(data)``, ``hexdigest()``."""


def checksum(data: bytes | bytearray | memoryview) -> str:
    """XXH3-128 as 32 hexadecimal digits: finds accidents, not forgery, at memory speed (9 GB/s on one core)."""
    return xxhash.xxh3_128_hexdigest(data)


def seal(document: Mapping[str, Any]) -> bytes:
    """``document`` as JSON with format version and checksum. A field a line, and a line for each item of a list.

    The checksum covers the file's bytes from the first to the line break before ``"checksum"``, so that any program
    can verify it without writing JSON the way we do, and no byte is left out.
    """
    fields = {"format_version": FORMAT_VERSION, **document}
    body = "{\n" + "".join(f"{_text(name)}: {_lines(value)},\n" for name, value in fields.items())
    head = body.encode()
    return head + f'"checksum": "{checksum(head)}"\n}}\n'.encode()


def unseal(data: bytes | memoryview, where: str) -> dict[str, Any]:
    """Parse and verify what :func:`seal` wrote. ``where`` names the file in errors.

    :raises ArchiveFormatError: written in another format version, or without the fields every document has.
    :raises CorruptDataError: not JSON, or not what was written.
    """
    data = bytes(data)
    try:
        document = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _damaged(where, f"it is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise _damaged(where, "it holds no JSON object")
    # The version comes first: another version may well compute its checksum in another way.
    version = field(document, "format_version", int, where)
    if version != FORMAT_VERSION:
        remedy = "Update videox2l to read it" if version > FORMAT_VERSION else "Ingest its videos again"
        raise ArchiveFormatError(
            f"{where} has format version {version}, this software reads version {FORMAT_VERSION}. {remedy}."
        )
    end = _END.search(data, max(0, len(data) - _END_LENGTH))
    if end is None:
        raise _damaged(where, "it does not end in a checksum")
    if checksum(data[: end.start()]) != end[1].decode():
        raise _damaged(where, "its checksum does not match")
    del document["checksum"]
    return document


def seal_line(document: Mapping[str, Any]) -> bytes:
    """``document`` as one line of JSON that ends in the checksum of everything before it; for files that grow."""
    head = _text(dict(document)).removesuffix("}").encode() + (b", " if document else b"")
    return head + f'"checksum": "{checksum(head)}"}}\n'.encode()


def unseal_line(line: bytes, where: str) -> dict[str, Any]:
    """Parse and verify what :func:`seal_line` wrote, without its line break.

    :raises CorruptDataError: not JSON, or not what was written.
    """
    end = _LINE_END.search(line)
    if end is None or checksum(line[: end.start()]) != end[1].decode():
        raise _damaged(where, "its checksum does not match")
    try:
        document = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _damaged(where, f"it is not JSON ({error})") from error
    del document["checksum"]
    return dict(document)


def field(document: Any, name: str, kind: type[T], where: str) -> T:
    """``document[name]``, which must be a ``kind`` (an ``int`` passes for a ``float``, a ``bool`` never for a number).

    :raises ArchiveFormatError: it is missing or something else.
    """
    if not isinstance(document, Mapping) or name not in document:
        raise ArchiveFormatError(
            f"{where} lacks the field {name!r}. Another program may have written it; ingest again."
        )
    value = document[name]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return kind(value)  # type: ignore[call-arg]
        except OverflowError:
            raise ArchiveFormatError(f"{where}: field {name!r} is too large for a number. Ingest again.") from None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ArchiveFormatError(
            f"{where}: field {name!r} should be {kind.__name__}, but is {type(value).__name__}. Ingest again."
        )
    return value


def count(document: Any, name: str, where: str) -> int:
    """``document[name]``, an integer from 0 to what 63 bits hold.

    :raises ArchiveFormatError: it is missing or something else.
    """
    value = field(document, name, int, where)
    if not 0 <= value < 2**63:
        raise ArchiveFormatError(f"{where}: field {name!r} is {value}, which counts nothing. Ingest again.")
    return value


def matching(document: Any, name: str, pattern: re.Pattern[str], where: str) -> str:
    """``document[name]``, a text that ``pattern`` matches as a whole.

    :raises ArchiveFormatError: it is missing or something else.
    """
    value = field(document, name, str, where)
    if pattern.fullmatch(value) is None:
        raise ArchiveFormatError(f"{where}: field {name!r} is {value[:80]!r}, which it cannot be. Ingest again.")
    return value


def _lines(value: Any) -> str:
    if isinstance(value, list | tuple) and value:
        return "[\n" + ",\n".join(_text(item) for item in value) + "\n]"
    return _text(value)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _damaged(where: str, how: str) -> CorruptDataError:
    return CorruptDataError(f"{where} is damaged: {how}. Restore the file, or run `videox2l repair`.")
