"""What the routes work with."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from pipelines.serve.access import Access, Gate
from pipelines.serve.catalog import Catalog
from pipelines.serve.config import ServiceConfig
from pipelines.serve.engines import Engines
from pipelines.serve.errors import ModelNotFoundError
from pipelines.serve.ingests import IngestQueue
from pipelines.serve.metrics import ServiceMetrics
from pipelines.serve.playback import Playback
from pipelines.serve.thumbnails import Thumbnails
from videox2l.store import Archive


@dataclass(frozen=True)
class Backend:
    """Everything behind the HTTP side of one service. ``ingests`` is None where none are allowed."""

    config: ServiceConfig
    archive: Archive
    catalog: Catalog
    playback: Playback
    thumbnails: Thumbnails
    engines: Engines
    gate: Gate
    metrics: ServiceMetrics
    ingests: IngestQueue | None
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def model(self) -> str:
        """What requests call the model."""
        return self.config.served_name

    def check_model(self, name: str) -> None:
        """:raises ModelNotFoundError: it is another one."""
        if name != self.model:
            raise ModelNotFoundError(
                f"no model {name!r}: this service answers with {self.model!r}", "model", "model_not_found"
            )


# Coroutines, though they wait for nothing: FastAPI runs plain functions in a thread, which costs each request a
# millisecond or two.
async def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.backend
    return backend


async def _access(request: Request) -> Access:
    access: Access = request.state.access
    return access


Service = Annotated[Backend, Depends(_backend)]
Asker = Annotated[Access, Depends(_access)]
