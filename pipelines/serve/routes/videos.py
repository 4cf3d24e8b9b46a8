"""``/v1/videos``: what the archive holds."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import Header, Path, Query, Response

from pipelines.indexes import index_ids
from pipelines.serve.backend import Asker, Service
from pipelines.serve.errors import RequestError
from pipelines.serve.routes.route import errors, guarded_router
from pipelines.serve.schema.videos import Video, VideoDeleted, VideoDetail, VideoIndex, VideoList, VideoQuery
from pipelines.serve.search import VideoSearch
from videox2l.store import Archive, CatalogRow, VideoEntry
from videox2l.store.sweep import remove_index

router = guarded_router()

_THUMBNAIL_HEADERS = {
    # For one user only, whose key says what may be seen; and not for long, since the video may be ingested anew.
    "Cache-Control": "private, max-age=300",
    # Whatever another program may have put into the archive, no browser takes it for a page.
    "X-Content-Type-Options": "nosniff",
}

_THUMBNAIL_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture, at most 160 pixels wide and high",
        "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        "headers": {"ETag": {"description": "changes with the picture", "schema": {"type": "string"}}},
    },
    304: {"description": "It is the picture that `If-None-Match` names"},
}


@router.get("/v1/videos", responses=errors(400, 503))
async def videos(
    backend: Service,
    access: Asker,
    query: Annotated[VideoQuery, Query()],
) -> VideoList:
    """Videos of the archive, by name, a page at a time."""
    search = VideoSearch.parse(query.name, query.metadata)
    fingerprint = (await backend.engines.info()).fingerprint
    found = [video for video in await backend.catalog.videos(access) if search.fits(video)]
    start = 0
    if query.after is not None:
        ids = [video.video_id for video in found]
        if query.after not in ids:
            raise RequestError("no such video in this list any more: begin with its first page", "after")
        start = ids.index(query.after) + 1
    page = found[start : start + query.limit]
    return VideoList(
        data=[_describe(video, fingerprint) for video in page],
        first_id=page[0].video_id if page else None,
        last_id=page[-1].video_id if page else None,
        has_more=start + query.limit < len(found),
    )


@router.get("/v1/videos/{video}", responses=errors(404, 503))
async def show(video: str, backend: Service, access: Asker) -> VideoDetail:
    """A video, by its id, the start of it, or its name."""
    found = await backend.catalog.find(video, access)
    fingerprint = (await backend.engines.info()).fingerprint
    indexes = [_describe_index(row, fingerprint) for row in found.indexes]
    return VideoDetail(**_describe(found, fingerprint).model_dump(), indexes=indexes)


@router.get(
    "/v1/videos/{video}/chunks/{chunk}/thumbnail",
    response_class=Response,
    responses=_THUMBNAIL_ANSWERS | errors(400, 404, 409, 503),
)
async def thumbnail(
    video: str,
    chunk: Annotated[int, Path(ge=0, description="number of the chunk, from 0")],
    backend: Service,
    access: Asker,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A small picture of a chunk: a frame from its middle, as the model saw it."""
    found = await backend.catalog.find(video, access)
    fingerprint = (await backend.engines.info()).fingerprint
    picture = await backend.thumbnails.get(_shown(found, fingerprint), chunk)
    tag = f'"{picture.checksum}"'
    headers = {**_THUMBNAIL_HEADERS, "ETag": tag}
    known = {each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")}
    if known & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(picture.jpeg, media_type="image/jpeg", headers=headers)


@router.delete("/v1/videos/{video}", responses=errors(403, 404, 503))
async def delete(video: str, backend: Service, access: Asker) -> VideoDeleted:
    """Remove a video with all its indexes from the archive. The video file itself is not touched."""
    access.check_delete()
    found = await backend.catalog.find(video, access)
    await asyncio.to_thread(_remove, backend.archive, found.video_id)
    backend.catalog.forget()
    return VideoDeleted(id=found.video_id)


def _remove(archive: Archive, video_id: str) -> None:
    for index in index_ids(archive, video_id):
        remove_index(archive.storage, (video_id, index))


def _fitting(entry: VideoEntry, fingerprint: str) -> list[CatalogRow]:
    return [index for index in entry.indexes if index.model_fingerprint == fingerprint]


def _shown(entry: VideoEntry, fingerprint: str) -> CatalogRow:
    """The index that stands for the video: the latest of the served model, or of any."""
    return (_fitting(entry, fingerprint) or entry.indexes)[-1]


def _describe(entry: VideoEntry, fingerprint: str) -> Video:
    index = _shown(entry, fingerprint)
    said = index.description
    return Video(
        id=entry.video_id,
        name=index.name,
        duration_s=index.duration_s,
        chunks=index.chunks,
        answerable=len(_fitting(entry, fingerprint)) == 1,
        also_named=sorted(entry.names - {index.name}),
        recorded_at=said.recorded_at,
        metadata=dict(said.metadata),
        created=index.created,
        thumbnail=f"/v1/videos/{entry.video_id}/chunks/{index.chunks // 2}/thumbnail",
    )


def _describe_index(row: CatalogRow, fingerprint: str) -> VideoIndex:
    return VideoIndex(
        id=row.index_fp,
        model_fingerprint=row.model_fingerprint,
        served=row.model_fingerprint == fingerprint,
        sampling=json.loads(row.sampling),
        compression=json.loads(row.compression),
        chunks=row.chunks,
        tokens={"low": row.low_tokens, "high": row.high_tokens},
        bytes={"low": row.low_bytes, "high": row.high_bytes},
        created=row.created,
    )
