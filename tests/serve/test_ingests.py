"""Videos that are ingested over HTTP, by a real ingest on the service's own cluster."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.serve.config import ServiceConfig
from pipelines.serve.ingests import Ingests
from pipelines.serve.schema.videos import IngestJob
from tests.serve.client import Client, Reply
from tests.unit.video.clips import regular, write_numbered_clip
from videox2l.store import Archive, layout
from videox2l.store.documents import seal, unseal


def submit(client: Client, **fields: Any) -> Reply:
    return client.send("POST", "/v1/videos", json.dumps(fields).encode())


def finished(client: Client, location: str) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while True:
        job: dict[str, Any] = client.get(location).json
        if job["finished_at"] is not None:
            return job
        assert job["status"] in ("queued", "running")
        assert time.monotonic() < deadline, job
        time.sleep(0.2)


@pytest.fixture
def clip(sources: Path) -> Path:
    path = sources / "clip.mp4"
    if not path.exists():
        write_numbered_clip(path, pts=regular(65))  # 6.5 s
    return path


@pytest.fixture
def removed(client: Client) -> Iterator[list[str]]:
    """Ids of videos that are to leave the shared archive again."""
    ids: list[str] = []
    yield ids
    for video_id in ids:
        assert client.delete(f"/v1/videos/{video_id}").status == 200


@pytest.mark.timeout(300)
def test_a_video_is_ingested_and_asked(client: Client, clip: Path, removed: list[str]) -> None:
    said = {"name": "numbers.mp4", "recorded_at": "2026-11-21T08:00:00+01:00", "metadata": {"camera": "west"}}
    accepted = submit(client, source=str(clip), fps=10.0, **said)
    assert accepted.status == 202, accepted.body
    location = accepted.headers["location"]
    assert location == f"/v1/ingests/{accepted.json['id']}"
    job = finished(client, location)
    assert (job["status"], job["error"]) == ("succeeded", None), job
    removed.append(job["video_id"])
    assert job["chunks"] == job["chunks_done"] == 7
    assert job in client.get("/v1/ingests").json["data"]

    video = client.get("/v1/videos/numbers.mp4").json
    assert (video["id"], video["chunks"], video["answerable"]) == (job["video_id"], 7, True)
    assert video["metadata"] == said["metadata"]
    assert video["recorded_at"] == said["recorded_at"]
    reply = client.ask("What is shown?", video="numbers.mp4", max_tokens=2)
    assert reply.json["videox2l"]["video_id"] == job["video_id"]

    again = finished(client, submit(client, source=str(clip), fps=10.0).headers["location"])
    assert (again["status"], again["video_id"]) == ("succeeded", job["video_id"])
    assert "already" in again["note"]


@pytest.mark.timeout(300)
def test_what_is_no_video_is_said(client: Client, sources: Path) -> None:
    (sources / "text.mp4").write_text("not a video")
    job = finished(client, submit(client, source=str(sources / "text.mp4")).headers["location"])
    assert job["status"] == "failed"
    assert job["error"]["type"] == "UnreadableVideoError"
    assert "text.mp4" in job["error"]["message"]


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("/etc/passwd", 403),
        ("http://169.254.169.254/latest/meta-data", 403),
        ("s3://bucket/a.mp4", 403),
        ("{folder}/../keys.json", 403),
        ("{folder}/*.mp4", 403),
        ("", 400),
    ],
)
def test_only_from_where_the_operator_allows_it(client: Client, sources: Path, source: str, status: int) -> None:
    assert submit(client, source=source.format(folder=sources)).status == status


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": " "}, "name"),
        ({"name": "0" * 32}, "name"),
        ({"recorded_at": "yesterday"}, None),
        ({"fps": 0}, "fps"),
        ({"fps": 1e9}, "fps"),
        ({"metadata": {"a": [1]}}, "metadata.a.str"),
        ({"metadata": {"a": 2**70}}, "metadata"),
        ({"replace": True}, "replace"),
    ],
)
def test_what_cannot_be_stored_is_refused_at_once(
    client: Client, clip: Path, fields: dict[str, Any], param: str | None
) -> None:
    reply = submit(client, source=str(clip), **fields)
    assert reply.status == 400, reply.body
    assert param is None or reply.json["error"]["param"].startswith(param.split(".")[0])


@pytest.mark.timeout(300)
def test_one_that_waits_can_be_called_off(client: Client, clip: Path, sources: Path) -> None:
    (sources / "other.mp4").write_text("not a video")
    first, second = (submit(client, source=str(sources / name)) for name in ("other.mp4", "clip.mp4"))
    called_off = client.delete(second.headers["location"]).json
    assert called_off["status"] == "cancelled"
    assert finished(client, first.headers["location"])["status"] == "failed"
    assert client.get(second.headers["location"]).json == called_off


@pytest.mark.timeout(300)
def test_a_service_takes_up_what_another_one_has_left(
    client: Client, archive: Archive, service_config: ServiceConfig, sources: Path
) -> None:
    (sources / "left.mp4").write_text("not a video")
    left = submit(client, source=str(sources / "left.mp4")).json
    path = layout.ingest(left["id"])
    finished(client, f"/v1/ingests/{left['id']}")
    record = unseal(archive.storage.read(path), path)
    record |= {"beat": 0.0, "job": left | {"id": "ingest-left", "status": "running"}}
    archive.storage.write(layout.ingest("ingest-left"), seal(record))

    async def run() -> IngestJob:
        service = Ingests(service_config)
        while True:
            job = await service.get("ingest-left", None)
            if isinstance(job, IngestJob) and job.finished_at is not None:
                return job
            await asyncio.sleep(0.1)

    job = asyncio.run(asyncio.wait_for(run(), 200))
    assert (job.status, job.error and job.error.type) == ("failed", "UnreadableVideoError")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_no_such_ingest(client: Client, method: str) -> None:
    assert client.send(method, "/v1/ingests/ingest-0").status == 404
