"""Videos to be watched, where the operator allows it."""

from __future__ import annotations

import mimetypes

from fastapi import Response
from fastapi.responses import FileResponse

from pipelines.serve.backend import Asker, Service
from pipelines.serve.routes.route import errors, guarded_router, open_router
from pipelines.serve.schema.videos import VideoSource

router = guarded_router()

signed = open_router()
"""Routes whose address itself says that its bearer may use it."""

_HEADERS = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}


@router.get("/v1/videos/{video}/source", responses=errors(404, 503))
async def source(video: str, backend: Service, access: Asker) -> VideoSource:
    """Where a video can be played: an address that needs no key and is good for an hour."""
    found = await backend.catalog.find(video, access)
    return VideoSource(id=found.video_id, url=backend.playback.address(found.source))


@signed.get(
    "/v1/sources/{ticket}",
    response_class=Response,
    responses={
        200: {"description": "The file", "content": {"video/*": {"schema": {"type": "string", "format": "binary"}}}},
        206: {"description": "The part of it that `Range` names"},
        416: {"description": "It has no such part"},
        **errors(404),
    },
)
async def play(ticket: str, backend: Service) -> Response:
    """A video file, for a player. Ranges work."""
    path = backend.playback.file(ticket)
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return FileResponse(path, media_type=kind, headers=_HEADERS, content_disposition_type="inline")
