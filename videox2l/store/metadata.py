"""What people say about a video: names it goes by, and values of their own to find it again.

None of it decides which numbers are stored: it is not part of an index's identity and may change at any time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from videox2l.identity import VideoIdentity, canonical_json, is_unicode, source_name

MetadataValue = str | int | float | bool | None

MAX_METADATA_BYTES = 2**14
"""Of a video's metadata as JSON. Every listing reads them, and 16 KiB for each of 100,000 videos are 1.6 GB already."""

_MAX_KEY = 128  # characters; what databases allow for a column's name

MAX_ALIASES_BYTES = 2**16
"""Of a video's other names and sources as JSON: some hundreds. Far below what a catalog row may have (1 MiB)."""


@dataclass(frozen=True)
class Alias:
    """Another name of a video, and the path or URL at which the same content was found under it."""

    name: str
    source: str


def metadata_problem(metadata: Mapping[Any, Any]) -> str:
    """What is wrong with a video's metadata, as the end of a sentence that names it; empty where they are fine."""
    for key, value in metadata.items():
        if not isinstance(key, str) or not 0 < len(key) <= _MAX_KEY or not key.isprintable():
            return f"the name {str(key)[:40]!r} is not 1 to {_MAX_KEY} printable characters"
        problem = _value_problem(value)
        if problem:
            return f"{key!r} {problem}"
    size = len(canonical_json(metadata))
    return f"they take {size} bytes as JSON, more than {MAX_METADATA_BYTES}" if size > MAX_METADATA_BYTES else ""


def _value_problem(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {value}, not a finite number"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "is a number that does not fit 64 bits"
    if isinstance(value, str) and not is_unicode(value):
        return "is not valid Unicode"
    if value is not None and not isinstance(value, MetadataValue):
        return f"is of type {type(value).__name__}, but must be text, a number, true, false, or nothing"
    return ""


def name_problem(name: str) -> str:
    """What is wrong with ``name`` as the name of a video, as the end of a sentence; empty where it is fine."""
    if not name.strip() or name != name.strip():
        return "is empty, or begins or ends with a space"
    if len(name.encode(errors="replace")) > 255:
        return "is longer than 255 bytes"
    if not name.isprintable():
        return "holds characters that cannot be shown"
    return ""


@dataclass(frozen=True)
class Description:
    """All that is said of a video: its name and source, what else it is called, when it begins, and its metadata."""

    name: str
    source: str
    aliases: tuple[Alias, ...]
    recorded_at: str | None
    metadata: Mapping[str, MetadataValue]

    def updated(
        self, video: VideoIdentity, recorded_at: str | None, metadata: Mapping[str, MetadataValue] | None
    ) -> tuple[Description, list[str]]:
        """What is said after ``video``, which has the same content, was met, and in words what of that is new.

        A name that was given for the same source takes the place of the one it had. Any other new name or source joins
        the aliases. ``recorded_at`` and ``metadata`` replace what was there, unless they are None.
        """
        new, news = self, []
        if video.source == self.source and video.name != self.name and is_own_name(video.name, video.source):
            new = replace(self, name=video.name)
            if is_own_name(self.name, self.source):
                new = replace(new, aliases=with_alias(new.aliases, new.name, new.source, self.name, self.source))
            news.append(f"is now called {video.name}")
        aliases = with_alias(new.aliases, new.name, new.source, video.name, video.source)
        if aliases != new.aliases:
            new = replace(new, aliases=aliases)
            news.append(f"is now also known as {video.source if video.name == self.name else video.name}")
        if recorded_at is not None and recorded_at != self.recorded_at:
            new = replace(new, recorded_at=recorded_at)
            news.append(f"now begins at {recorded_at}")
        if metadata is not None and canonical_json(metadata) != canonical_json(self.metadata):
            new = replace(new, metadata=metadata)
            news.append("has new metadata")
        return new, news


def with_alias(aliases: Sequence[Alias], name: str, source: str, also_name: str, also_source: str) -> tuple[Alias, ...]:
    """``aliases`` of the video ``name`` from ``source`` and, unless they are known, another name and source of it.

    A name is known too where it is the file name in a known source. Left as they are where there is no room for more.
    """
    pairs = [Alias(name, source), *aliases]
    names = {pair.name for pair in pairs} | {source_name(pair.source) for pair in pairs}
    if also_name in names and also_source in {pair.source for pair in pairs}:
        return tuple(aliases)
    more = (*aliases, Alias(also_name, also_source))
    fits = len(canonical_json([asdict(alias) for alias in more])) <= MAX_ALIASES_BYTES
    return more if fits else tuple(aliases)


def is_own_name(name: str, source: str) -> bool:
    """Whether somebody gave the video from ``source`` its name, which is otherwise that of its file."""
    return name != source_name(source)
