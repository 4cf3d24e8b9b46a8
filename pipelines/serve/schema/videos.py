"""Videos of the archive, and ingests into it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.serve.schema.common import MAX_TIME, MAX_VIDEO, VideoName

# Videos in a page of a listing: some hundred kilobytes with usual metadata.
_PAGE, _MOST = 100, 1000

MetadataValue = str | int | float | bool | None


class Video(BaseModel):
    """A video of the archive. ``answerable``: it was ingested with the served model."""

    id: str
    object: Literal["video"] = "video"
    name: str
    duration_s: float
    chunks: int
    answerable: bool
    also_named: list[str] = Field(description="other names of the same content")
    recorded_at: str | None = Field(description="the recording's start by the clock, where it is known")
    metadata: dict[str, Any]
    created: str = Field(description="when it was ingested, UTC")
    thumbnail: str = Field(description="path of a picture of its middle; a 404 where none were kept")


class VideoQuery(BaseModel):
    """Which videos are listed, and how many."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=_PAGE, ge=1, le=_MOST, description="videos in a page")
    after: str | None = Field(default=None, max_length=MAX_VIDEO, description="`last_id` of the page before")
    name: str | None = Field(default=None, max_length=MAX_VIDEO, description="a glob, such as `cam-*.mp4`")
    metadata: list[str] = Field(default=[], max_length=32, description="values it must have, each `name=value`")


class VideoList(BaseModel):
    """Videos by name, a page at a time: ``after`` the ``last_id`` of one page begins the next."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoIndex(BaseModel):
    """What one ingest made of a video: its KVs by one model with one set of settings."""

    id: str
    model_fingerprint: str
    served: bool
    sampling: dict[str, Any]
    compression: dict[str, Any]
    chunks: int
    tokens: dict[str, int] = Field(description="by level")
    bytes: dict[str, int] = Field(description="by level")
    created: str


class VideoDetail(Video):
    """A video and its indexes, the oldest first."""

    indexes: list[VideoIndex]


class VideoSource(BaseModel):
    """Where a video can be played."""

    id: str
    object: Literal["video.source"] = "video.source"
    url: str = Field(description="a path of this service, good for an hour, or an address elsewhere")


class VideoDeleted(BaseModel):
    """It is gone, and so are all its indexes."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class IngestRequest(BaseModel):
    """A video to be ingested: one file in a place that the operator has opened for it."""

    model_config = ConfigDict(strict=True, extra="forbid")

    source: VideoName = Field(description="path or URL of one video file")
    name: Annotated[str, Field(min_length=1, max_length=255)] | None = Field(
        default=None, description="what it is to be called; default: the file's name"
    )
    recorded_at: Annotated[str, Field(max_length=MAX_TIME)] | None = Field(
        default=None, description="when it begins, ISO 8601 with its offset from UTC"
    )
    fps: float | None = Field(default=None, gt=0, le=240, allow_inf_nan=False, description="frames looked at a second")
    metadata: dict[str, MetadataValue] = {}


JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class IngestError(BaseModel):
    """Why an ingest came to nothing."""

    type: str
    message: str


class IngestJob(BaseModel):
    """An ingest and how far it is. ``chunks`` is 0 until the video has been looked at."""

    id: str
    object: Literal["video.ingest"] = "video.ingest"
    status: JobStatus
    source: str
    name: str | None
    video_id: str | None = None
    chunks: int = 0
    chunks_done: int = 0
    created_at: int = Field(description="Unix time")
    finished_at: int | None = None
    note: str | None = Field(default=None, description="such as that the video was in the archive already")
    error: IngestError | None = None


class IngestJobList(BaseModel):
    """The latest ingests, the newest first."""

    object: Literal["list"] = "list"
    data: list[IngestJob]
