"""For machines that watch over the service: probes and numbers."""

from __future__ import annotations

from fastapi import Response
from prometheus_client import CONTENT_TYPE_LATEST

from pipelines.serve.backend import Asker, Service
from pipelines.serve.routes.route import errors, guarded_router, open_router
from pipelines.serve.schema.common import Ready, Status

probes, numbers = open_router(), guarded_router()


@probes.get("/healthz", responses=errors())
async def healthz() -> Status:
    """The HTTP side is alive."""
    return Status(status="ok")


@probes.get("/readyz", responses=errors(503))
async def readyz(backend: Service) -> Ready:
    """An engine has loaded the model and answers."""
    info = await backend.engines.probe()
    return Ready(status="ready", calibration=info.calibration, outside_calibration=list(info.outside))


@numbers.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **errors(403)},
)
async def metrics(backend: Service, access: Asker) -> Response:
    """The service's numbers, in Prometheus' text format. A key needs the right to read them."""
    access.check_metrics()
    return Response(backend.metrics.exposition(await backend.engines.stats()), media_type=CONTENT_TYPE_LATEST)
