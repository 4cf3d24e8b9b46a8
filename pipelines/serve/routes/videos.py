"""``/v1/videos``: what the archive holds."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

from fastapi import Query

from pipelines.indexes import index_ids
from pipelines.serve.backend import Asker, Service
from pipelines.serve.errors import RequestError
from pipelines.serve.routes.route import errors, guarded_router
from pipelines.serve.schema.videos import Video, VideoDeleted, VideoDetail, VideoIndex, VideoList, VideoQuery
from pipelines.serve.search import VideoSearch
from videox2l.store import Archive, CatalogRow, VideoEntry
from videox2l.store.sweep import remove_index

router = guarded_router()


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


def _describe(entry: VideoEntry, fingerprint: str) -> Video:
    fitting = [index for index in entry.indexes if index.model_fingerprint == fingerprint]
    index = (fitting or entry.indexes)[-1]
    said = index.description
    return Video(
        id=entry.video_id,
        name=index.name,
        duration_s=index.duration_s,
        chunks=index.chunks,
        answerable=len(fitting) == 1,
        also_named=sorted(entry.names - {index.name}),
        recorded_at=said.recorded_at,
        metadata=dict(said.metadata),
        created=index.created,
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
