"""Who may do what: keys, their scopes and limits, sizes, and other web pages."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import openai
import pytest

from pipelines.serve import ServiceConfig, build_app, start_service
from pipelines.serve.body import MAX_HEADER_BYTES
from pipelines.serve.keys import change_keys
from tests.serve.client import Client, Reply
from tests.serve.conftest import MODEL, make_key
from videox2l.errors import ConfigError
from videox2l.store import Archive

GUARDED = [
    "/v1/videos",
    "/v1/videos/kitchen.mp4",
    "/v1/videos/kitchen.mp4/chunks/0/thumbnail",
    "/v1/models",
    "/v1/ingests",
    "/metrics",
]

WithKey = Callable[..., Client]


@pytest.fixture
def with_key(service: str, key_file: Path) -> WithKey:
    """A client with a new key that has these rights, once the service knows it."""

    def make(name: str, **rights: Any) -> Client:
        client = Client(service, MODEL, make_key(key_file, name, **rights))
        deadline = time.monotonic() + 10
        while client.get("/v1/models").status == 401:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return client

    return make


def code(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json["error"]["code"]


@pytest.mark.parametrize("key", ["", "videox2l-wrong", "ü" * 10])
def test_nothing_without_a_key(service: str, key: str) -> None:
    client = Client(service, MODEL, key.encode().decode("latin-1"))
    for path in GUARDED:
        reply = client.get(path)
        assert code(reply) == (401, "invalid_api_key")
        assert reply.headers["www-authenticate"] == "Bearer"
    assert code(client.post(b"{")) == (401, "invalid_api_key"), "nothing of the body is looked at before"
    assert client.delete("/v1/videos/kitchen.mp4").status == 401
    with pytest.raises(openai.AuthenticationError):
        Client(service, MODEL, "videox2l-wrong").openai.models.list()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json"])
def test_probes_and_documentation_need_none(service: str, path: str) -> None:
    assert Client(service, MODEL).get(path).status == 200


def test_a_key_works_until_it_is_removed(with_key: WithKey, key_file: Path) -> None:
    client = with_key("short-lived")
    assert client.ask("What happens?", max_tokens=1).status == 200
    change_keys(key_file, lambda keys: [key for key in keys if key.name != "short-lived"])
    time.sleep(1.1)
    assert client.ask("What happens?", max_tokens=1).status == 401


@pytest.mark.parametrize(
    ("scope", "seen"),
    [
        ({"videos": ("kitchen*", "cam*")}, ["camera.mp4", "kitchen.mp4"]),
        ({"metadata": {"camera": "north"}}, ["kitchen.mp4"]),
        ({"metadata": {"floor": 3.0}, "videos": ("*.mp4",)}, ["kitchen.mp4"]),
        ({"metadata": {"camera": "north"}, "videos": ("a garden*",)}, []),
    ],
)
def test_other_videos_are_not_there(
    with_key: WithKey, archive: Archive, scope: dict[str, Any], seen: list[str]
) -> None:
    client = with_key("scoped", **scope, delete=True)
    assert [video["name"] for video in client.get("/v1/videos").json["data"]] == seen
    hidden = [entry for entry in archive.videos() if entry.name not in seen]
    for entry in archive.videos():
        for name in (entry.name, entry.video_id, entry.video_id[:8]):
            asked = client.ask("What happens?", video=name, select="none", max_tokens=1)
            picture = client.get(f"/v1/videos/{quote(name)}/chunks/0/thumbnail")
            if entry.name in seen:
                assert (asked.status, picture.status) == (200, 200)
                continue
            assert code(asked) == code(picture) == (404, "video_not_found")
            assert client.delete(f"/v1/videos/{entry.video_id}").status == 404
            # Nor do the suggestions of an error tell of them.
            told = asked.json["error"]["message"].replace(repr(name), "")
            assert not any(other.name in told or other.video_id in told for other in hidden)


def test_scope_by_id(with_key: WithKey, archive: Archive) -> None:
    video_id = archive.resolve("camera.mp4")
    client = with_key("by-id", videos=(f"{video_id[:12]}*",))
    assert [video["id"] for video in client.get("/v1/videos").json["data"]] == [video_id]


def test_rights(with_key: WithKey, sources: Path, archive: Archive) -> None:
    (sources / "any.mp4").write_bytes(b"no video")
    source = json.dumps({"source": str(sources / "any.mp4")}).encode()
    reader = with_key("reader")
    for reply in (
        reader.delete("/v1/videos/kitchen.mp4"),
        reader.send("POST", "/v1/videos", source),
        reader.get("/metrics"),
        with_key("elsewhere", ingest_from=("/elsewhere",)).send("POST", "/v1/videos", source),
        with_key("named", ingest_from=(str(sources),), videos=("cam-*",)).send("POST", "/v1/videos", source),
    ):
        assert code(reply) == (403, "permission_denied")
    assert archive.resolve("kitchen.mp4")


def test_requests_a_minute(with_key: WithKey) -> None:
    client = with_key("impatient", requests_per_minute=3)
    replies = [client.get("/v1/models") for _ in range(4)]
    assert code(replies[-1]) == (429, "rate_limit_exceeded")
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 20
    assert code(client.post(b"{")) == (429, "rate_limit_exceeded")
    with pytest.raises(openai.RateLimitError):
        client.openai.models.list()
    assert with_key("another", requests_per_minute=3).get("/v1/models").status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_a_minute(with_key: WithKey, stream: bool) -> None:
    client = with_key(f"talkative-{stream}", tokens_per_minute=60)
    replies = [client.ask("What happens?", max_tokens=20, stream=stream) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 429]


def test_sizes(client: Client) -> None:
    limit = ServiceConfig(archive_url="any").max_body_bytes
    fields = {"padding": "x" * limit}
    assert code(client.ask("What?", **fields)) == (413, "too_large")
    assert code(client.get("/healthz", X_Padding="x" * MAX_HEADER_BYTES)) == (431, "too_large")
    # Without a length in front nobody knows before how much comes.
    address = urlsplit(client.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    chunks = (b"[" + b"1," * 2**15 for _ in range(limit // 2**16 + 2))
    connection.request("POST", "/v1/chat/completions", chunks, client.headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_web_pages_of_allowed_origins_only(client: Client) -> None:
    preflight = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization"}
    allowed = client.send("OPTIONS", "/v1/chat/completions", Origin="https://app.example", **preflight)
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    refused = client.send("OPTIONS", "/v1/chat/completions", Origin="https://evil.example", **preflight)
    assert refused.status == 400
    assert "access-control-allow-origin" not in refused.headers


def test_strangers_are_let_in_on_purpose_only(archive: Archive, random_checkpoint: Path, key_file: Path) -> None:
    with pytest.raises(ConfigError, match="--without-keys"):
        start_service(archive.url, model=str(random_checkpoint), host="0.0.0.0")
    with pytest.raises(ConfigError, match="who may use the service"):
        build_app(ServiceConfig(archive_url=archive.url))
    with pytest.raises(ConfigError, match="contradict"):
        build_app(ServiceConfig(archive_url=archive.url, without_keys=True, api_keys=str(key_file)))
    with pytest.raises(ConfigError, match="videox2l keys"):
        start_service(archive.url, model=str(random_checkpoint), api_keys=str(key_file.with_name("none.json")))
    with pytest.raises(ConfigError, match="no folder"):
        start_service(archive.url, model=str(random_checkpoint), ingest_from=(str(key_file),))
