"""More than the engine can do, and clients that leave."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPResponse

from tests.serve.client import Client
from tests.serve.conftest import CONCURRENCY, MAX_ONGOING, MAX_QUEUED

LONG = 3500
"""Tokens: nearly as many as the context holds; tens of seconds."""


class Stream:
    """A long answer that is being read."""

    def __init__(self, response: HTTPResponse) -> None:
        self._response = response

    def read(self) -> str:
        """The next piece of text."""
        event = self._response.readline().decode()
        assert self._response.readline() == b"\n"
        return str(json.loads(event.removeprefix("data: "))["choices"][0]["delta"].get("content", ""))

    def tokens_per_second(self, tokens: int = 100) -> float:
        start, received = time.monotonic(), 0
        while received < tokens:
            received += len(self.read())
        return received / (time.monotonic() - start)


@contextmanager
def all_threads_busy(client: Client) -> Iterator[Stream]:
    """As many long answers as the engine has threads, each after its first text. They are left at the end."""
    with ExitStack() as stack:
        for _ in range(CONCURRENCY):
            body = client.body("Go on and on.", stream=True, max_tokens=LONG, select="none")
            response = stack.enter_context(closing(urllib.request.urlopen(client.request(body), timeout=120)))
            stream = Stream(response)
            while not stream.read():
                pass
        yield stream


def test_clients_that_leave_free_their_places(client: Client) -> None:
    with all_threads_busy(client) as stream:
        seconds_to_go = (LONG - 200) / stream.tokens_per_second()
    start = time.monotonic()
    assert client.ask("What happens?", max_tokens=1).status == 200
    assert time.monotonic() - start < seconds_to_go / 3


def test_overload_is_a_clean_503_with_retry_after(client: Client) -> None:
    room = MAX_ONGOING - CONCURRENCY + MAX_QUEUED
    with ThreadPoolExecutor(room + 4) as threads, all_threads_busy(client):
        asked = [threads.submit(client.ask, "What?", max_tokens=1, stream=True) for _ in range(room + 4)]
        replies = [future.result() for future in as_completed(asked)]
    refused = next(reply for reply in replies if reply.status != 200)
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json["error"]["code"] == "overloaded"
    assert {reply.status for reply in replies} == {200, 503}
    assert client.ask("What happens?", max_tokens=1).status == 200
