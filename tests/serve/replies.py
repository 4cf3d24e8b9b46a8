"""Answers as they come over HTTP."""

from __future__ import annotations

import json
from typing import Any

from tests.serve.client import Reply


def events(reply: Reply) -> list[Any]:
    """The documents of a stream, with its end. Every event is whole."""
    *parts, rest = reply.body.decode().split("\n\n")
    assert rest == ""
    texts = [part.removeprefix("data: ") for part in parts]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


def text_of(reply: Reply) -> str:
    """Of a complete answer, whole or streamed."""
    assert reply.status == 200, reply.body
    if reply.headers["content-type"].startswith("application/json"):
        return str(reply.json["choices"][0]["message"]["content"])
    *documents, done = events(reply)
    assert done == "[DONE]"
    assert documents[-1]["choices"][0]["finish_reason"]
    return "".join(document["choices"][0]["delta"].get("content", "") for document in documents)
