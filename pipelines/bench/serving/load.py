"""Askers of a service, in a process of their own, so that they take nothing from what is measured but its processor.

Reads an :class:`Order` as JSON from standard input; writes one :class:`Reply` a question, as JSON, to standard output.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Order:
    """``requests``: bodies of chat completions, streamed. Each of ``askers`` takes the next when it has its answer."""

    url: str
    askers: int
    requests: list[dict[str, Any]]


@dataclass(frozen=True)
class Reply:
    """Milliseconds from sending to the first text and to the end; what the answer says of itself, empty if it failed.

    ``began``: seconds since the first question.
    """

    status: int
    began: float
    first_ms: float
    total_ms: float
    tokens: int
    evidence: dict[str, Any]


def run_load(order: Order) -> list[Reply]:
    """Ask in a process of its own, which has ended when this returns."""
    command = [sys.executable, "-m", "pipelines.bench.serving.load"]
    done = subprocess.run(command, input=json.dumps(asdict(order)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the process that asks failed:\n{done.stderr[-2000:]}")
    return [Reply(**reply) for reply in json.loads(done.stdout)]


def ask_all(order: Order) -> list[Reply]:
    """Replies in the order of the requests."""
    start = time.perf_counter()
    with ThreadPoolExecutor(order.askers) as askers:
        return list(askers.map(lambda request: _ask(order.url, request, start), order.requests))


def tokens_per_second(replies: Sequence[Reply]) -> float:
    """Of all askers together, from the first question to the last answer's end."""
    end = max(reply.began + reply.total_ms / 1000 for reply in replies)
    return sum(reply.tokens for reply in replies) / (end - min(reply.began for reply in replies))


def _ask(url: str, request: dict[str, Any], start: float) -> Reply:
    address = urlsplit(url)
    body = json.dumps({**request, "stream": True, "stream_options": {"include_usage": True}})
    connection = HTTPConnection(address.hostname or "", address.port, timeout=300)
    began, first, tokens, evidence = time.perf_counter(), 0.0, 0, dict[str, Any]()
    try:
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        for line in response:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            choices = event.get("choices") or []
            if not first and choices and (choices[0]["delta"].get("content") or choices[0].get("finish_reason")):
                first = time.perf_counter()
            evidence = event.get("videox2l") or evidence
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    finally:
        connection.close()
    end = time.perf_counter()
    return Reply(
        response.status, began - start, ((first or end) - began) * 1000, (end - began) * 1000, tokens, evidence
    )


if __name__ == "__main__":
    replies = ask_all(Order(**json.load(sys.stdin)))
    json.dump([asdict(reply) for reply in replies], sys.stdout)
