"""What the archive holds, over HTTP."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest

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


@pytest.mark.parametrize("name", ["nowhere.mp4", "%00", "%7Enobody", "..%2F..", "%F0%9F%8E%A5", "a" * 3000])
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
