"""``/v1/models``: the model that answers."""

from __future__ import annotations

from pipelines.serve.backend import Backend, Service
from pipelines.serve.routes.route import errors, guarded_router
from pipelines.serve.schema.completion import Model, ModelList

router = guarded_router()


@router.get("/v1/models", responses=errors(503))
async def models(backend: Service) -> ModelList:
    """The model of this service."""
    return ModelList(data=[await _describe(backend)])


@router.get("/v1/models/{name:path}", responses=errors(404, 503))
async def model(name: str, backend: Service) -> Model:
    """The model, by its name."""
    backend.check_model(name)
    return await _describe(backend)


async def _describe(backend: Backend) -> Model:
    info = await backend.engines.info()
    return Model(
        id=backend.model,
        created=backend.created,
        context_length=info.context_length,
        fingerprint=info.fingerprint,
    )
