"""What the archive holds, over HTTP."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from tests.archives import random_index
from tests.serve.client import Client
from tests.serve.conftest import CAMERA_START
from videox2l.models import KVCompressibleModel
from videox2l.store import Archive


def listed(client: Client, query: str = "") -> dict[str, Any]:
    reply = client.get(f"/v1/videos{query}")
    assert reply.status == 200, reply.body
    found: dict[str, Any] = reply.json
    return found


def names(page: dict[str, Any]) -> list[str]:
    return [video["name"] for video in page["data"]]


def test_pages(client: Client) -> None:
    every = names(listed(client))
    assert {"a garden.mp4", "camera.mp4", "foreign.mp4", "kitchen.mp4", "old.mp4"} <= set(every)
    assert every == sorted(every)
    found, after = [], ""
    while len(found) < len(every):
        page = listed(client, f"?limit=2{after}")
        assert page["has_more"] is (len(found) + 2 < len(every))
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        found += names(page)
        after = f"&after={page['last_id']}"
    assert found == every
    assert listed(client, f"?limit=2{after}")["data"] == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?name=*a*", ["a garden.mp4", "camera.mp4"]),
        ("?name=KITCHEN*", []),
        ("?metadata=camera%3Dnorth", ["kitchen.mp4"]),
        ("?metadata=floor%3D3&metadata=night%3Dfalse", ["kitchen.mp4"]),
        ("?metadata=floor%3D3&metadata=camera%3Dsouth", []),
        ("?metadata=camera%3Dsouth&name=*.mp4&limit=1", ["a garden.mp4"]),
    ],
)
def test_search(client: Client, query: str, expected: list[str]) -> None:
    assert names(listed(client, query)) == expected


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("?limit=0", "limit"),
        ("?limit=many", "limit"),
        ("?after=gone", "after"),
        ("?camera=north", "camera"),
        ("?metadata=camera", "metadata"),
        ("?metadata=a%3D1&metadata=a%3D2", "metadata"),
    ],
)
def test_a_wrong_search(client: Client, query: str, param: str) -> None:
    reply = client.get(f"/v1/videos{query}")
    assert (reply.status, reply.json["error"]["param"]) == (400, param)


def test_one_video(client: Client, archive: Archive) -> None:
    video_id = archive.resolve("kitchen.mp4")
    for name in (video_id, video_id[:8], "kitchen.mp4", quote("a garden.mp4")):
        assert client.get(f"/v1/videos/{name}").status == 200
    video = client.get("/v1/videos/kitchen.mp4").json
    manifest = archive.open_index(video_id).manifest
    assert (video["id"], video["chunks"], video["answerable"]) == (video_id, 5, True)
    assert video["metadata"] == {"camera": "north", "floor": 3, "night": False}
    [index] = video["indexes"]
    assert (index["id"], index["served"]) == (manifest.index_fp, True)
    assert index["tokens"] == {level: total.tokens for level, total in manifest.totals.items()}
    assert index["bytes"] == {level: total.bytes for level, total in manifest.totals.items()}
    assert index["sampling"] == dict(manifest.spec.sampling)
    assert client.get("/v1/videos/camera.mp4").json["recorded_at"] == CAMERA_START


def test_thumbnails(client: Client, archive: Archive) -> None:
    reader = archive.open_index(archive.resolve("kitchen.mp4"))
    for chunk in range(5):
        reply = client.get(f"/v1/videos/kitchen.mp4/chunks/{chunk}/thumbnail")
        assert (reply.status, reply.headers["content-type"]) == (200, "image/jpeg")
        assert reply.body == reader.thumbnail(chunk)
        assert reply.headers["cache-control"].startswith("private")
        with Image.open(io.BytesIO(reply.body)) as image:
            image.load()
    again = client.get("/v1/videos/kitchen.mp4/chunks/4/thumbnail", If_None_Match=reply.headers["etag"])
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", reply.headers["etag"])
    other = client.get("/v1/videos/kitchen.mp4/chunks/3/thumbnail", If_None_Match=f'W/"x", {reply.headers["etag"]}')
    assert other.status == 200
    for name in ("old.mp4", "foreign.mp4", quote("a garden.mp4"), reader.manifest.video.video_id[:8]):
        assert client.get(f"/v1/videos/{name}/chunks/0/thumbnail").status == 200, name


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("kitchen.mp4/chunks/5", 404, "chunks 0 to 4"),
        ("kitchen.mp4/chunks/99999999999999999999", 404, "chunks 0 to 4"),
        ("kitchen.mp4/chunks/-1", 400, "greater than or equal to 0"),
        ("kitchen.mp4/chunks/first", 400, "integer"),
        ("nowhere.mp4/chunks/0", 404, "nowhere.mp4"),
        ("without.mp4/chunks/0", 404, "--replace"),
    ],
)
def test_no_such_thumbnail(client: Client, without: None, path: str, status: int, message: str) -> None:
    reply = client.get(f"/v1/videos/{path}/thumbnail")
    assert (reply.status, reply.json["error"]["param"]) == (status, "video" if "nowhere" in path else "chunk")
    assert message in reply.json["error"]["message"]


@pytest.fixture(scope="module")
def without(archive: Archive, random_model: KVCompressibleModel) -> None:
    """A video without thumbnails."""
    random_index(archive, random_model, "without.mp4", chunks=1, seed=11, thumbnails=False)


def test_damaged_thumbnails(client: Client, archive: Archive, random_model: KVCompressibleModel) -> None:
    manifest = random_index(archive, random_model, "torn.mp4", chunks=2, seed=13).manifest
    [number] = [number for number, entry in enumerate(manifest.shards) if entry.part == "thumbnails"]
    file = Path(archive.url) / manifest.shard_path(number)
    data = file.read_bytes()
    file.write_bytes(bytes(len(data)))
    deadline = time.monotonic() + 15  # the list is read anew
    while (reply := client.get("/v1/videos/torn.mp4/chunks/1/thumbnail")).status == 404:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert reply.status == 500
    assert "thumbnail of chunk 1: the stored bytes changed" in reply.json["error"]["message"]
    file.unlink()
    assert "is missing" in client.get("/v1/videos/torn.mp4/chunks/1/thumbnail").json["error"]["message"]
    file.write_bytes(data)
    assert client.get("/v1/videos/torn.mp4/chunks/1/thumbnail").status == 200


def test_thumbnails_of_a_video_that_is_made_anew(
    client: Client, archive: Archive, random_model: KVCompressibleModel
) -> None:
    path = "/v1/videos/twice.mp4/chunks/0/thumbnail"
    random_index(archive, random_model, "twice.mp4", chunks=1, seed=12, thumbnails=False)
    assert client.get(path).status == 404
    random_index(archive, random_model, "twice.mp4", chunks=1, seed=12, replace=True)
    deadline = time.monotonic() + 15  # the list is read anew
    while client.get(path).status == 404:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert client.get(path).status == 200


@pytest.mark.parametrize(
    "name", ["nowhere.mp4", "%00", "%7Enobody", "%7Eno-such-user", "..%2F..", "%F0%9F%8E%A5", "a" * 3000]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_no_such_video(client: Client, name: str, method: str) -> None:
    assert client.send(method, f"/v1/videos/{name}").status == 404


def test_delete(client: Client, archive: Archive, random_model: KVCompressibleModel) -> None:
    video_id = random_index(archive, random_model, "doomed.mp4", chunks=1, seed=9).manifest.video.video_id
    deadline = time.monotonic() + 5  # well below the age at which the list is read anew by itself
    while (found := client.get("/v1/videos/doomed.mp4")).status == 404:
        assert time.monotonic() < deadline
    assert found.json["id"] == video_id
    assert client.ask("What happens?", video="doomed.mp4", max_tokens=1).status == 200
    deleted = client.delete("/v1/videos/doomed.mp4")
    assert deleted.json == {"id": video_id, "object": "video.deleted", "deleted": True}
    assert client.delete("/v1/videos/doomed.mp4").status == 404
    assert client.ask("What happens?", video=video_id, max_tokens=1).status == 404
    assert video_id not in {entry.video_id for entry in archive.videos()}
    assert "doomed.mp4" not in names(listed(client))
