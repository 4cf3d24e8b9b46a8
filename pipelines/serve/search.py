"""Finding videos by name and metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pipelines.serve.errors import RequestError
from videox2l.store import VideoEntry


@dataclass(frozen=True)
class VideoSearch:
    """``name``: a glob; ``metadata``: by name the text that a value must be written as. All must fit."""

    name: str | None
    metadata: Mapping[str, str]

    @classmethod
    def parse(cls, name: str | None, pairs: Sequence[str]) -> VideoSearch:
        """From a request's fields.

        :raises RequestError: a pair is none, or two contradict each other.
        """
        metadata: dict[str, str] = {}
        for pair in pairs:
            field, equals, value = pair.partition("=")
            if not equals or not field:
                raise RequestError(f"{pair[:80]!r} is no name=value, such as camera=north", "metadata")
            if metadata.setdefault(field, value) != value:
                raise RequestError(f"no video has two values of {field!r}", "metadata")
        return cls(name, metadata)

    def fits(self, video: VideoEntry) -> bool:
        """Whether it is one of those that are looked for."""
        if self.name is not None and not any(fnmatchcase(name, self.name) for name in video.names):
            return False
        if not self.metadata:
            return True
        stored = video.indexes[-1].description.metadata
        return all(field in stored and _same(stored[field], value) for field, value in self.metadata.items())


def _same(stored: Any, text: str) -> bool:
    """Text is written as it is, everything else as in JSON: 3, true, null."""
    return stored == text if isinstance(stored, str) else json.dumps(stored) == text
