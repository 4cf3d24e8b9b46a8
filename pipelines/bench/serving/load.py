"""Askers of a service, in a process of their own, so that they take nothing from what is measured but its processor.

Reads an :class:`Order` as JSON from standard input; writes one :class:`Reply` a question, as JSON, to standard output.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Order:
    """``requests``: bodies of chat completions, streamed. Each of ``askers`` takes one after the other, on a connection
    that it keeps; no more are taken after ``seconds``.
    """

    url: str
    askers: int
    requests: list[dict[str, Any]]
    seconds: float | None = None


@dataclass(frozen=True)
class Reply:
    """Milliseconds from sending to the first text and to the end; the bytes an answer tells, empty if it failed.

    ``began``: seconds since the first question. ``error``: why it failed.
    """

    status: int
    began: float
    first_ms: float
    total_ms: float
    tokens: int
    bytes_from: dict[str, dict[str, int]]
    error: str = ""


def run_load(order: Order) -> list[Reply]:
    """Ask in a process of its own, which has ended when this returns."""
    command = [sys.executable, "-m", "pipelines.bench.serving.load"]
    done = subprocess.run(command, input=json.dumps(asdict(order)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the process that asks failed:\n{done.stderr[-2000:]}")
    return [Reply(**reply) for reply in json.loads(done.stdout)]


def ask_all(order: Order) -> list[Reply]:
    """Replies in the order in which they came."""
    start = time.perf_counter()
    left, replies = iter(order.requests), list[Reply]()
    turn = threading.Lock()

    def ask_in_turn() -> None:
        with _Asker(order.url) as asker:
            while order.seconds is None or time.perf_counter() - start < order.seconds:
                with turn:
                    request = next(left, None)
                if request is None:
                    return
                replies.append(asker.ask(request, start))

    with ThreadPoolExecutor(order.askers) as askers:
        for asking in [askers.submit(ask_in_turn) for _ in range(order.askers)]:
            asking.result()
    return replies


def tokens_per_second(replies: Sequence[Reply]) -> float:
    """Of all askers together, from the first question to the last answer's end."""
    end = max(reply.began + reply.total_ms / 1000 for reply in replies)
    return sum(reply.tokens for reply in replies) / (end - min(reply.began for reply in replies))


class _Asker:
    """Somebody who asks one question after the other."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = HTTPConnection(address.hostname or "", address.port, timeout=300)

    def __enter__(self) -> _Asker:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def ask(self, request: dict[str, Any], start: float) -> Reply:
        body = json.dumps({**request, "stream": True, "stream_options": {"include_usage": True}})
        began = time.perf_counter()
        first, tokens, told, failure = 0.0, 0, dict[str, Any](), ""
        self._connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        with self._connection.getresponse() as response:
            status = response.status
            if status != HTTPStatus.OK:
                failure = response.read().decode(errors="replace")
            for line in response:
                if not line.startswith(b"data: {"):
                    continue
                event = json.loads(line[6:])
                failure = failure or json.dumps(event.get("error") or "").strip('"')
                choices = event.get("choices") or []
                if not first and choices and (choices[0]["delta"].get("content") or choices[0].get("finish_reason")):
                    first = time.perf_counter()
                told = (event.get("videox2l") or {}).get("bytes_from") or told
                tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
        end = time.perf_counter()
        first_ms, total_ms = ((first or end) - began) * 1000, (end - began) * 1000
        return Reply(status, began - start, first_ms, total_ms, tokens, told, failure)


if __name__ == "__main__":
    replies = ask_all(Order(**json.load(sys.stdin)))
    json.dump([asdict(reply) for reply in replies], sys.stdout)
