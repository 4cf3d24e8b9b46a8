"""Ingests that were submitted over HTTP: a queue, worked off one by one beside the engines, and what became of each.

An ingest's state is kept in the archive (``ingests/<id>.json``). A service that starts takes up what another one has
left unfinished: the ingest goes on from its journal.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from typing import Any

from pydantic import BaseModel, ValidationError
from ray.serve.handle import DeploymentHandle

from pipelines.ingest import ChunkDone, Event, IngestSettings, RowFinished, VideoPlanned, VideoRequest, ingest
from pipelines.serve.config import ServiceConfig
from pipelines.serve.errors import JobNotFoundError, QueueFullError
from pipelines.serve.schema.videos import IngestError, IngestJob, IngestRequest
from videox2l.config import SamplingConfig
from videox2l.errors import ArchiveError
from videox2l.store import Archive, layout
from videox2l.store.documents import seal, unseal

logger = logging.getLogger("ray.serve")

# A night's worth of films at some minutes each. What is beyond is better done by `videox2l ingest`.
MAX_WAITING = 100

# Finished ones are remembered until so many came after them.
MAX_KEPT = 1000

# An ingest whose service has said nothing of it for so long is one that was left.
_BEAT_S = 15.0
_LEFT_S = 4 * _BEAT_S


class _Record(BaseModel):
    """An ingest as it is kept. ``owner``: the name of the key that submitted it."""

    job: IngestJob
    request: IngestRequest
    owner: str | None
    beat: float


class IngestQueue:
    """The deployment as the ingress sees it."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def submit(self, request: IngestRequest, owner: str | None) -> IngestJob:
        """:raises QueueFullError: too many wait already."""
        return _raised(await self._handle.submit.remote(request, owner))

    async def get(self, job_id: str, owner: str | None) -> IngestJob:
        """:raises JobNotFoundError: there is none, or it is another key's."""
        return _raised(await self._handle.get.remote(job_id, owner))

    async def cancel(self, job_id: str, owner: str | None) -> IngestJob:
        """:raises JobNotFoundError: there is none, or it is another key's."""
        return _raised(await self._handle.cancel.remote(job_id, owner))

    async def latest(self, owner: str | None) -> list[IngestJob]:
        """The newest first."""
        found: list[IngestJob] = await self._handle.latest.remote(owner)
        return found


def _raised(answer: IngestJob | Exception) -> IngestJob:
    # As a value, because raised in the deployment it would fill Serve's log with a traceback for every typing error.
    if isinstance(answer, Exception):
        raise answer
    return answer


class Ingests:
    """A Serve deployment of one replica, which needs no CPU of its own: workers of the cluster do the work."""

    def __init__(self, config: ServiceConfig) -> None:
        self._config = config
        self._storage = Archive.open(config.archive_url, storage_options=config.storage_options).storage
        self._records: dict[str, _Record] = {}
        self._stops: dict[str, threading.Event] = {}
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._tasks = [asyncio.ensure_future(self._take_up()), asyncio.ensure_future(self._work())]

    async def submit(self, request: IngestRequest, owner: str | None) -> IngestJob | Exception:
        """Put it at the end of the queue."""
        if self._queue.qsize() >= MAX_WAITING:
            return QueueFullError(f"{MAX_WAITING} ingests are waiting already")
        job = IngestJob(
            id=f"ingest-{uuid.uuid4().hex}",
            status="queued",
            source=request.source,
            name=request.name,
            created_at=int(time.time()),
        )
        await self._add(_Record(job=job, request=request, owner=owner, beat=time.time()))
        return job

    async def get(self, job_id: str, owner: str | None) -> IngestJob | Exception:
        record = self._records.get(job_id)
        if record is None or (owner is not None and record.owner != owner):
            return JobNotFoundError(f"no ingest {job_id!r}: the last {MAX_KEPT} are remembered", "ingest")
        return record.job

    async def cancel(self, job_id: str, owner: str | None) -> IngestJob | Exception:
        """End it after the chunk at work. Submitted again, it goes on from there."""
        found = await self.get(job_id, owner)
        if isinstance(found, IngestJob) and found.status == "queued":
            await self._finish(job_id, status="cancelled")
            return self._records[job_id].job
        if isinstance(found, IngestJob) and job_id in self._stops:
            self._stops[job_id].set()
        return found

    async def latest(self, owner: str | None) -> list[IngestJob]:
        """The newest first."""
        own = [record.job for record in self._records.values() if owner is None or record.owner == owner]
        return sorted(own, key=lambda job: (job.created_at, job.id), reverse=True)

    async def _add(self, record: _Record) -> None:
        self._records[record.job.id] = record
        await self._keep(record)
        self._queue.put_nowait(record.job.id)
        finished = [job_id for job_id, kept in self._records.items() if kept.job.finished_at is not None]
        for job_id in finished[: max(0, len(self._records) - MAX_KEPT)]:
            del self._records[job_id]
            await asyncio.to_thread(self._storage.delete, layout.ingest(job_id))

    async def _take_up(self) -> None:
        """What was submitted to a service before this one, and, from time to time, what another one has left."""
        while True:
            for record in await self._kept():
                known = record.job.id in self._records
                if record.job.finished_at is not None:
                    self._records.setdefault(record.job.id, record)
                elif not known and time.time() - record.beat > _LEFT_S:
                    await self._add(record)
            await asyncio.sleep(_LEFT_S)

    async def _work(self) -> None:
        while True:
            job_id = await self._queue.get()
            record = self._records[job_id]
            if record.job.finished_at is not None:
                continue  # cancelled
            await self._change(job_id, status="running")
            stop = self._stops[job_id] = threading.Event()
            beating = asyncio.ensure_future(self._beat(job_id))
            try:
                await self._finish(job_id, **await asyncio.to_thread(self._ingest, record, stop))
            finally:
                beating.cancel()
                del self._stops[job_id]

    def _ingest(self, record: _Record, stop: threading.Event) -> dict[str, Any]:
        """In a thread. What the ingest came to, as fields of :class:`IngestJob`; raises nothing."""
        request, config = record.request, self._config
        sampling = SamplingConfig() if request.fps is None else SamplingConfig(fps=request.fps)
        settings = IngestSettings(
            config.model, config.ingest_device, config.compute_dtype, sampling, recorded_at=request.recorded_at
        )
        source = VideoRequest(request.source, request.name or "", metadata=request.metadata or None)
        try:
            summary = ingest(
                [source],
                config.archive_url,
                settings,
                storage_options=config.storage_options,
                on_progress=lambda event: self._hear(record.job.id, event),
                stop=stop,
            )
        except KeyboardInterrupt:
            return {"status": "cancelled"}
        except Exception as error:
            logger.warning("The ingest of %s ended: %s", request.source, error)
            return {"status": "failed", "error": IngestError(type=type(error).__name__, message=str(error))}
        [row] = summary.rows
        if row.status in ("failed", "quarantined"):
            return {"status": "failed", "error": IngestError(type=row.error_type, message=row.error)}
        return {"status": "succeeded", "video_id": row.video_id, "note": row.error or row.warning or None}

    def _hear(self, job_id: str, event: Event) -> None:
        """In the ingest's thread, which alone changes a running job."""
        job = self._records[job_id].job
        match event:
            case VideoPlanned(chunks=chunks, kept=kept):
                job.chunks, job.chunks_done = chunks + kept, kept
            case ChunkDone(done=done):
                job.chunks_done = max(job.chunks_done, done)
            case RowFinished(row):
                job.video_id = row.video_id or None
                job.chunks = row.chunks or job.chunks

    async def _beat(self, job_id: str) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            await self._keep(self._records[job_id])

    async def _change(self, job_id: str, **fields: Any) -> None:
        record = self._records[job_id]
        record.job = record.job.model_copy(update=fields)
        await self._keep(record)

    async def _finish(self, job_id: str, **fields: Any) -> None:
        await self._change(job_id, finished_at=int(time.time()), **fields)

    async def _keep(self, record: _Record) -> None:
        record.beat = time.time()
        document = seal(record.model_dump(mode="json"))
        try:
            await asyncio.to_thread(self._storage.write, layout.ingest(record.job.id), document)
        except ArchiveError as error:
            # The ingest itself needs the archive, and will say so.
            logger.warning("The state of %s is not kept: %s", record.job.id, error)

    async def _kept(self) -> list[_Record]:
        try:
            return await asyncio.to_thread(self._read_all)
        except ArchiveError as error:
            logger.warning("What ingests were left is not known: %s", error)
            return []

    def _read_all(self) -> list[_Record]:
        found = []
        for name in self._storage.names(layout.INGESTS):
            path = f"{layout.INGESTS}/{name}"
            try:
                found.append(_Record.model_validate(unseal(self._storage.read(path), path)))
            except (FileNotFoundError, ValidationError, ArchiveError) as error:
                logger.warning("An ingest's state cannot be read: %s", error)
        return found
