"""The HTTP side's deployment. Holds no model, and waits for engines and the archive only."""

from __future__ import annotations

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from pipelines.serve.access import Gate
from pipelines.serve.api import build_api
from pipelines.serve.backend import Backend
from pipelines.serve.catalog import Catalog
from pipelines.serve.config import ServiceConfig
from pipelines.serve.engines import Engines
from pipelines.serve.ingests import IngestQueue
from pipelines.serve.metrics import ServiceMetrics
from pipelines.serve.playback import Playback
from pipelines.serve.thumbnails import Thumbnails
from videox2l.store import Archive


# Without an argument: Serve asks the object for its application once it is made.
@serve.ingress()
class Ingress:
    """One replica: it keeps the counts of all requests and how often each key has asked."""

    def __init__(self, config: ServiceConfig, engine: DeploymentHandle, ingests: DeploymentHandle | None) -> None:
        archive = Archive.open(config.archive_url, storage_options=config.storage_options)
        metrics = ServiceMetrics()
        self._backend = Backend(
            config=config,
            archive=archive,
            catalog=Catalog(archive),
            playback=Playback(config.play_from),
            thumbnails=Thumbnails(archive),
            engines=Engines(engine, on_retry=lambda: metrics.count("retries_total")),
            gate=Gate(config),
            metrics=metrics,
            ingests=None if ingests is None else IngestQueue(ingests),
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_api(self._backend)
