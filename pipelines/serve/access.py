"""Who is asking, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from starlette.requests import Request

from pipelines.serve.config import ServiceConfig
from pipelines.serve.errors import ForbiddenError, UnauthorizedError
from pipelines.serve.keys import ApiKey, KeyFile, find_key
from pipelines.serve.limits import Limits
from pipelines.serve.sources import is_allowed
from videox2l.identity import canonical_json
from videox2l.store import VideoEntry
from videox2l.store.metadata import MetadataValue


@dataclass(frozen=True)
class Access:
    """What one request may do. Without a key the service is open: everything that its operator allows."""

    config: ServiceConfig
    key: ApiKey | None = None

    @property
    def name(self) -> str:
        """The key's, empty without one."""
        return "" if self.key is None else self.key.name

    def sees(self, video: VideoEntry) -> bool:
        """Whether the video is there for this request. One that is not must look like one that does not exist."""
        names = [video.video_id, *video.names]
        # What was said of it last counts, as for its name.
        return self.covers(names, video.indexes[-1].description.metadata)

    def covers(self, names: list[str], metadata: Mapping[str, MetadataValue]) -> bool:
        """Whether a video of these names and metadata is one that the key is for."""
        key = self.key
        if key is None:
            return True
        named = not key.videos or any(fnmatchcase(name, glob) for name in names for glob in key.videos)
        return named and all(
            field in metadata and canonical_json(metadata[field]) == canonical_json(value)
            for field, value in key.metadata.items()
        )

    def check_ingest(self, source: str) -> None:
        """:raises ForbiddenError: nobody, or not this key, may ingest from there."""
        if not is_allowed(source, self.config.ingest_from):
            raise ForbiddenError(
                "this service does not ingest from there. Its operator names the folders and URL prefixes that it "
                "does, with `videox2l serve --ingest-from`.",
                "source",
            )
        if self.key is not None and not is_allowed(source, self.key.ingest_from):
            raise ForbiddenError(f"the key {self.key.name!r} may not ingest from there", "source")

    def check_delete(self) -> None:
        """:raises ForbiddenError: it may not."""
        if self.key is None and not self.config.allow_delete:
            raise ForbiddenError("this service deletes nothing: its operator can allow it (--allow-delete)", None)
        if self.key is not None and not self.key.delete:
            raise ForbiddenError(f"the key {self.key.name!r} may not delete", None)

    def check_metrics(self) -> None:
        """:raises ForbiddenError: it may not."""
        if self.key is not None and not self.key.metrics:
            raise ForbiddenError(f"the key {self.key.name!r} may not read metrics", None)


class Gate:
    """Tells from a request who is asking."""

    def __init__(self, config: ServiceConfig) -> None:
        self._config = config
        self._keys = None if config.api_keys is None else KeyFile(Path(config.api_keys))
        self.limits = Limits()

    def enter(self, request: Request) -> Access:
        """:raises UnauthorizedError: the service has keys, and the request none of them."""
        if self._keys is None:
            return Access(self._config)
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise UnauthorizedError("this service needs an API key: send it as `Authorization: Bearer KEY`")
        key = find_key(self._keys.keys(), text.strip())
        if key is None:
            raise UnauthorizedError("no such API key: it may have been removed")
        return Access(self._config, key)
