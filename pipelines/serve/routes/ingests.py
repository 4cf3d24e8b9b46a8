"""``POST /v1/videos`` and ``/v1/ingests``: videos into the archive, where the operator allows it."""

from __future__ import annotations

from fastapi import Response

from pipelines.serve.access import Access
from pipelines.serve.backend import Asker, Backend, Service
from pipelines.serve.errors import ForbiddenError, JobNotFoundError, RequestError
from pipelines.serve.ingests import IngestQueue
from pipelines.serve.routes.route import errors, guarded_router
from pipelines.serve.schema.videos import IngestJob, IngestJobList, IngestRequest
from videox2l.identity import source_name, source_url
from videox2l.prefill.ingest import wall_clock
from videox2l.store.lookup import is_id
from videox2l.store.metadata import metadata_problem, name_problem

router = guarded_router()


@router.post("/v1/videos", status_code=202, responses=errors(400, 403, 503))
async def submit(request: IngestRequest, response: Response, backend: Service, access: Asker) -> IngestJob:
    """Ingest a video. The answer comes at once; `Location` says where to see how far it is."""
    access.check_ingest(request.source)
    _check(request, access)
    job = await _queue(backend).submit(request, _owner(access))
    backend.metrics.count("ingests_total")
    response.headers["Location"] = f"/v1/ingests/{job.id}"
    return job


@router.get("/v1/ingests", responses=errors(503))
async def ingests(backend: Service, access: Asker) -> IngestJobList:
    """The latest ingests, the newest first; with a key, its own."""
    return IngestJobList(data=[] if backend.ingests is None else await backend.ingests.latest(_owner(access)))


@router.get("/v1/ingests/{ingest}", responses=errors(404, 503))
async def show(ingest: str, backend: Service, access: Asker) -> IngestJob:
    """How far an ingest is."""
    job = await _queue(backend, ingest).get(ingest, _owner(access))
    if job.status == "succeeded":
        await backend.catalog.await_video(job.video_id)
    return job


@router.delete("/v1/ingests/{ingest}", responses=errors(404, 503))
async def cancel(ingest: str, backend: Service, access: Asker) -> IngestJob:
    """End an ingest after the chunk at work. Submitted again, it goes on from there."""
    return await _queue(backend, ingest).cancel(ingest, _owner(access))


def _queue(backend: Backend, ingest: str | None = None) -> IngestQueue:
    if backend.ingests is None:
        if ingest is None:
            raise ForbiddenError("this service takes no ingests", "source")
        raise JobNotFoundError(f"no ingest {ingest!r}: this service takes none", "ingest")
    return backend.ingests


def _owner(access: Access) -> str | None:
    return None if access.key is None else access.key.name


def _check(request: IngestRequest, access: Access) -> None:
    """:raises RequestError: a name, time or metadata that cannot be stored, or that the key is not for."""
    if request.name is not None and (name_problem(request.name) or is_id(request.name)):
        problem = name_problem(request.name) or "looks like the id that a content has"
        raise RequestError(f"the name {problem}", "name")
    if problem := metadata_problem(request.metadata):
        raise RequestError(f"of the metadata, {problem}", "metadata")
    if request.recorded_at is not None:
        wall_clock(request.recorded_at)
    name = request.name or source_name(source_url(request.source))
    if not access.covers([name], request.metadata):
        raise ForbiddenError("the key would not see this video: choose a name and metadata that it is for", "name")
