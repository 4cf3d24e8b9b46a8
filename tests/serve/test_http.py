"""Listings, probes, documentation, and every way a request can be wrong."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.serve.client import Client, Reply
from videox2l.store import Archive

ERROR_FIELDS = {"message", "type", "param", "code"}


def error(reply: Reply) -> dict[str, Any]:
    document: dict[str, Any] = reply.json["error"]
    assert document.keys() == ERROR_FIELDS
    assert "Traceback" not in document["message"]
    return document


def test_models(client: Client) -> None:
    [model] = client.openai.models.list().data
    assert model.id == client.model
    assert client.openai.models.retrieve(client.model) == model
    with pytest.raises(openai.NotFoundError):
        client.openai.models.retrieve("other/model")


def test_videos(client: Client, archive: Archive) -> None:
    listing = client.get("/v1/videos").json
    assert listing["object"] == "list"
    assert [(video["name"], video["chunks"], video["answerable"]) for video in listing["data"]] == [
        ("a garden.mp4", 3, True),
        ("camera.mp4", 3, True),
        ("foreign.mp4", 2, False),
        ("kitchen.mp4", 5, True),
        ("old.mp4", 5, True),
    ]
    assert [video["id"] for video in listing["data"]] == [entry.video_id for entry in archive.videos()]
    assert listing["data"][3]["duration_s"] == pytest.approx(50)


@pytest.mark.parametrize(("path", "status"), [("/healthz", "ok"), ("/readyz", "ready")])
def test_probes(client: Client, path: str, status: str) -> None:
    assert client.get(path).json["status"] == status


def test_readiness_tells_what_was_asked_outside_of_the_calibration(client: Client) -> None:
    assert client.get("/readyz").json["calibration"] == "calibrated"
    for _ in range(2):
        assert client.ask("What is it?", select="key_bounds", max_tokens=1).status == 200
    outside = [said for said in client.get("/readyz").json["outside_calibration"] if said.startswith("key_bounds of 2")]
    assert len(outside) == 1, "said once"


def test_interactive_documentation(client: Client) -> None:
    assert client.get("/docs").status == 200
    paths = client.get("/openapi.json").json["paths"]
    chat = paths["/v1/chat/completions"]["post"]
    assert chat["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("ChatCompletionRequest")
    assert {"/v1/models", "/v1/videos", "/healthz", "/readyz"} <= paths.keys()


def test_unknown_path_and_method(client: Client) -> None:
    assert client.get("/v1/completions").status == 404
    assert error(client.get("/v1/completions"))["type"] == "invalid_request_error"
    assert client.get("/v1/chat/completions").status == 405
    error(client.get("/v1/chat/completions"))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "status", "param", "code"),
    [
        ({"video": "nowhere.mp4"}, 404, "video", "video_not_found"),
        ({"video": "~nobody/clip.mp4"}, 404, "video", "video_not_found"),
        ({"video": ""}, 400, "video", "invalid_value"),
        ({"video": None}, 400, "video", "missing_required_parameter"),
        ({"video": "foreign.mp4"}, 409, None, "fingerprint_mismatch"),
        ({"question": "  \n"}, 400, "messages", "question"),
        ({"question": "word " * 2000}, 400, "messages", "context_length_exceeded"),
        ({"question": "\ud800"}, 400, "messages[0].content", "invalid_value"),
        ({"model": "gpt-5"}, 404, "model", "model_not_found"),
        ({"model": None}, 400, "model", "invalid_value"),
        ({"messages": []}, 400, "messages", "invalid_value"),
        ({"messages": "hello"}, 400, "messages", "invalid_value"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages[0].content[0]", None),
        ({"n": 0}, 400, "n", "invalid_value"),
        ({"n": 9}, 400, "n", "invalid_value"),
        ({"tools": [{"type": "function"}], "stop": "."}, 400, "tools", "unsupported_parameter"),
        ({"stop": ""}, 400, "stop", "invalid_value"),
        ({"stop": ["a"] * 5}, 400, "stop", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, 400, "top_logprobs", "invalid_value"),
        ({"top_logprobs": 2}, 400, "top_logprobs", "invalid_value"),
        ({"logit_bias": {"1": 5}}, 400, "logit_bias", "unsupported_parameter"),
        ({"video": "videox2l://kitchen.mp4#t=late"}, 400, "videox2l", "time_range"),
        ({"videox2l": {"max_bytes": -1}}, 400, "videox2l.max_bytes", "invalid_value"),
        ({"videox2l": {"max_first_token_ms": float("inf")}}, 400, "videox2l.max_first_token_ms", "invalid_value"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format", "unsupported_parameter"),
        ({"max_tokens": -1}, 400, "max_tokens", "invalid_value"),
        ({"max_tokens": "many"}, 400, "max_tokens", "invalid_value"),
        ({"temperature": 3}, 400, "temperature", "invalid_value"),
        ({"temperature": float("nan")}, 400, "temperature", "invalid_value"),
        ({"top_p": 0}, 400, "top_p", "invalid_value"),
        ({"seed": 2**70}, 400, "seed", "invalid_value"),
        ({"top_k": -1}, 400, "top_k", "invalid_value"),
        ({"select": "best"}, 400, None, "config"),
        ({"select": "0,99"}, 400, None, "config"),
        ({"videox2l": {"from": "early"}}, 400, "videox2l", "time_range"),
        ({"videox2l": {"from": 50}}, 400, "videox2l", "time_range"),
        ({"videox2l": {"from": 20, "to": 10}}, 400, "videox2l", "time_range"),
        ({"videox2l": {"to": "2026-11-21T08:00:00Z"}}, 400, "videox2l", "time_range"),
        ({"videox2l": {"from": 20}, "select": "0"}, 400, None, "config"),
        ({"videox2l": {"from": True}}, 400, "videox2l.from", "invalid_value"),
        ({"videox2l": "1:00"}, 400, "videox2l", "invalid_value"),
        ({"videox2l": {"until": 10}}, 400, "until", "unsupported_parameter"),
        ({"stream_options": 1}, 400, "stream_options", "invalid_value"),
    ],
)
def test_what_is_wrong_is_said(
    client: Client, fields: dict[str, Any], status: int, param: str | None, code: str | None, stream: bool
) -> None:
    reply = client.ask(**{"question": "What happens?", "stream": stream, **fields})
    assert reply.status == status, reply.body
    document = error(reply)
    assert document["param"] == param
    assert code is None or document["code"] == code
    assert document["type"] == "invalid_request_error"
    assert document["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"{}"])
def test_malformed_bodies(client: Client, body: bytes) -> None:
    reply = client.post(body)
    assert reply.status == 400, reply.body
    error(reply)


def test_very_deep_json(client: Client) -> None:
    depth = 100_000
    reply = client.post(b'{"model": ' + b"[" * depth + b"]" * depth + b"}")
    assert reply.status == 400, reply.body


def test_the_official_client_understands_the_errors(client: Client) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.openai.chat.completions.create(
            model=client.model,
            messages=[{"role": "user", "content": "What?"}],
            extra_body={"video": "kitchn.mp4"},
        )
    assert caught.value.code == "video_not_found"
    assert "kitchen.mp4" in json.dumps(caught.value.body)


def test_the_service_answers_after_all_that(client: Client) -> None:
    assert client.ask("What happens?", max_tokens=2).status == 200
