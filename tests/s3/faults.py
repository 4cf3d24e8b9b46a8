"""An HTTP proxy that goes wrong as asked, for tests of what a slow or broken S3 server does to us.

It serves one request a connection, which keeps it short: every answer ends where the server closes. Requests must have
a Content-Length, as those of S3 clients without trailing checksums do.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal["status", "reset", "reset_body", "truncate", "stall", "lost_answer", "unconditional"]


@dataclass(frozen=True)
class Fault:
    """One way to go wrong.

    ``status``: answer with ``code`` without asking the server. ``reset``: break the connection before the answer.
    ``reset_body``, ``truncate``: break or close it after half of the body. ``stall``: half of the body, then nothing
    for ``seconds``. ``lost_answer``: the server does what was asked, the client gets a reset instead of the answer.
    ``unconditional``: what the request makes its conditions is not passed on, as by servers that do not know them.
    """

    kind: Kind
    code: int = 503
    seconds: float = 30.0


@dataclass
class Request:
    """What went over the wire: bodies in bytes, without headers. ``fault``: what was done to it."""

    method: str
    path: str
    received: int = 0
    sent: int = 0
    fault: Fault | None = None


Plan = Callable[[Request], Fault | None]
"""Decides what happens to a request. Called once for each, in order of arrival."""


def healthy(request: Request) -> Fault | None:
    """Every request passes."""
    return None


def in_turn(*faults: Fault | None, method: str = "GET", path: str = "") -> Plan:
    """These, one a request of ``method`` whose path contains ``path``; later and other requests pass."""
    left = list(faults)

    def plan(request: Request) -> Fault | None:
        return left.pop(0) if left and request.method == method and path in request.path else None

    return plan


def at_random(shares: Mapping[Fault, float], seed: int, method: str = "GET") -> Plan:
    """Each fault hits its share (0 … 1) of the requests of ``method``; the rest pass."""
    generator = random.Random(seed)
    kinds, weights = [*shares, None], [*shares.values(), 1 - sum(shares.values())]

    def plan(request: Request) -> Fault | None:
        return generator.choices(kinds, weights)[0] if request.method == method else None

    return plan


class FaultProxy:
    """Listens on a port of its own in front of ``server`` (a URL) while its ``with`` block lasts.

    ``plan`` and ``latency_s`` (before each answer) may be set at any time; ``requests`` is the log so far.
    """

    def __init__(self, server: str) -> None:
        self.plan: Plan = healthy
        self.latency_s = 0.0
        self.requests: list[Request] = []
        address = urlsplit(server)
        self._host, self._port = address.hostname, address.port
        self._loop = asyncio.new_event_loop()
        # The loop itself holds its tasks only weakly, and one that was collected leaves its client waiting.
        self._serving: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def count(self, method: str, path: str = "") -> int:
        """Requests of ``method`` whose path contains ``path``."""
        return sum(request.method == method and path in request.path for request in self.requests)

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        # A client that goes away and a proxy that stops are both fine.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError), _closing(answer):
            head = await client.readuntil(b"\r\n\r\n")
            method, path, _ = head.decode("latin-1").split(" ", 2)
            fields = _fields(head)
            if "expect" in fields:
                answer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await client.readexactly(int(fields.get("content-length", 0)))
            request = Request(method, path, received=len(body))
            request.fault = self.plan(request)
            self.requests.append(request)
            await asyncio.sleep(self.latency_s)
            if request.fault and request.fault.kind == "status":
                answer.write(_refusal(request.fault.code))
                await answer.drain()
            elif request.fault and request.fault.kind == "reset":
                _reset(answer)
            else:
                dropped = ["connection", "expect"]
                if request.fault and request.fault.kind == "unconditional":
                    dropped += ["if-none-match", "if-match"]
                await self._forward(request, _without(head, *dropped) + body, answer)

    async def _forward(self, request: Request, message: bytes, answer: asyncio.StreamWriter) -> None:
        source, sink = await asyncio.open_connection(self._host, self._port)
        with _closing(sink):
            sink.write(message)
            head = await source.readuntil(b"\r\n\r\n")
            length = int(_fields(head).get("content-length", 0))
            fault = request.fault
            if fault and fault.kind == "lost_answer":
                await source.read()
                _reset(answer)
                return
            answer.write(head)
            limit = length // 2 if fault and fault.kind != "unconditional" else None
            while part := await source.read(2**18 if limit is None else min(2**18, limit - request.sent)):
                request.sent += len(part)  # before the client can have it, who may look at once
                answer.write(part)
                await answer.drain()
            if fault and fault.kind == "stall":
                await asyncio.sleep(fault.seconds)
            elif fault and fault.kind == "reset_body":
                _reset(answer)


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _without(head: bytes, *names: str) -> bytes:
    """The head of a request that asks the server to close after its answer."""
    lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    kept = [line for line in lines if line.partition(":")[0].lower() not in names]
    return "\r\n".join([*kept, "Connection: close", "", ""]).encode("latin-1")


def _refusal(code: int) -> bytes:
    name = {403: "AccessDenied", 404: "NoSuchKey", 503: "SlowDown"}.get(code, "InternalError")
    body = f"<?xml version='1.0'?><Error><Code>{name}</Code><Message>Injected.</Message></Error>".encode()
    head = f"HTTP/1.1 {code} {name}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset rather than an orderly end."""
    linger_for_no_time = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_for_no_time)
    writer.transport.abort()


@contextlib.contextmanager
def _closing(writer: asyncio.StreamWriter) -> Iterator[None]:
    try:
        yield
    finally:
        writer.close()
