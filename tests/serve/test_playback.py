"""Addresses of videos: only of what the operator has opened, only for an hour, and only those made here."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.serve.errors import SourceNotPlayableError
from pipelines.serve.playback import Playback
from tests.archives import random_index
from tests.serve.client import Client
from tests.serve.conftest import make_key
from videox2l.models import KVCompressibleModel
from videox2l.store import Archive

CONTENT = bytes(range(256)) * 40


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "open" / "a clip é.mp4"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


def test_an_address_is_good_for_an_hour(video: Path) -> None:
    clock = Clock()
    playback = Playback([str(video.parent)], clock)
    ticket = playback.address(video.as_uri()).removeprefix("/v1/sources/")
    clock.now += 3599
    assert playback.file(ticket) == video
    clock.now += 2
    with pytest.raises(SourceNotPlayableError, match="too old"):
        playback.file(ticket)


def test_an_address_cannot_be_made_elsewhere(video: Path) -> None:
    here, there = Playback([str(video.parent)]), Playback([str(video.parent)])
    ticket = here.address(video.as_uri()).removeprefix("/v1/sources/")
    data = base64.urlsafe_b64decode(ticket)
    changed = base64.urlsafe_b64encode(data.replace(b"clip", b"film")).decode()
    for playback, text in (
        (there, ticket),
        (here, changed),
        (here, ""),
        (here, "%%%"),
        (here, "é"),
        (here, ticket[:60]),
    ):
        with pytest.raises(SourceNotPlayableError, match="no address"):
            playback.file(text)


def test_only_what_is_opened(video: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"")
    (video.parent / "link.mp4").symlink_to(secret)
    playback = Playback([str(video.parent), "https://example.org/open/"])
    for source in (
        secret.as_uri(),
        (video.parent / "link.mp4").as_uri(),
        (video.parent / "gone.mp4").as_uri(),
        video.parent.as_uri() + "/../secret.mp4",
        "https://example.org/other/clip.mp4",
        "https://example.org/open/../other/clip.mp4",
        "s3://bucket/clip.mp4",
    ):
        with pytest.raises(SourceNotPlayableError, match="cannot be played"):
            playback.address(source)
    assert playback.address("https://example.org/open/clip.mp4") == "https://example.org/open/clip.mp4"
    assert playback.origins == ["https://example.org"]
    ticket = playback.address(video.as_uri()).removeprefix("/v1/sources/")
    video.unlink()
    with pytest.raises(SourceNotPlayableError, match="not there any more"):
        playback.file(ticket)


@pytest.fixture(scope="module")
def playable(archive: Archive, random_model: KVCompressibleModel, sources: Path, client: Client) -> Iterator[str]:
    path = sources / "played.mp4"
    path.write_bytes(CONTENT)
    reader = random_index(archive, random_model, "played.mp4", chunks=1, seed=21, source=path.as_uri())
    yield reader.manifest.video.video_id
    assert client.delete(f"/v1/videos/{reader.manifest.video.video_id}").status == 200


def test_a_player_needs_no_key_and_may_ask_for_parts(client: Client, service: str, playable: str) -> None:
    url = client.get(f"/v1/videos/{playable}/source").json["url"]
    anybody = Client(service, client.model)
    whole = anybody.get(url)
    assert (whole.status, whole.body, whole.headers["content-type"]) == (200, CONTENT, "video/mp4")
    part = anybody.get(url, Range="bytes=256-511")
    assert (part.status, part.body) == (206, CONTENT[256:512])
    assert part.headers["content-range"] == f"bytes 256-511/{len(CONTENT)}"
    assert anybody.get(url, Range="bytes=999999-").status == 416
    assert anybody.get(url[:-8]).status == 404


def test_who_does_not_see_a_video_gets_no_address(client: Client, service: str, playable: str, key_file: Path) -> None:
    assert Client(service, client.model).get(f"/v1/videos/{playable}/source").status == 401
    other = Client(service, client.model, make_key(key_file, "garden", videos=("a garden*",)))
    deadline = time.monotonic() + 10
    while (refused := other.get(f"/v1/videos/{playable}/source")).status == 401:
        assert time.monotonic() < deadline  # changes to the file count within a second
        time.sleep(0.1)
    assert refused.json["error"]["code"] == "video_not_found"
    assert client.get("/v1/videos/kitchen.mp4/source").json["error"]["code"] == "source_not_playable"
