"""What a request may look like at most, checked before anything of it is parsed."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.serve.errors import (
    BodyTooLargeError,
    HeadersTooLargeError,
    RequestError,
    WrongHostError,
    error_response,
)

# What browsers and proxies send is below 8 KiB, with cookies below 16.
MAX_HEADER_BYTES = 32 * 2**10

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


class RequestLimits:
    """ASGI middleware: 413 for a body of more than ``max_body_bytes``, whatever its header claims; 431 for headers."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, *, loopback_only: bool) -> None:
        self._app = app
        self._limit = max_body_bytes
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received, begun = 0, False

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise self._too_large()
            return message

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            self._check_headers(scope)
            await self._app(scope, limited, watched)
        except RequestError as error:
            if begun:
                raise
            await error_response(error)(scope, receive, send)

    def _check_headers(self, scope: Scope) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
            raise HeadersTooLargeError(f"the request's headers exceed {MAX_HEADER_BYTES} bytes", code="too_large")
        for name, value in headers:
            if name == b"content-length" and value.isdigit() and int(value) > self._limit:
                raise self._too_large()
            if name == b"host" and self._loopback_only and _host(value) not in _LOOPBACK:
                raise WrongHostError(
                    f"this service listens on this machine only, not as {value.decode('latin-1')[:80]!r}. To have it "
                    "behind another name, give it keys (--api-keys) or start it --without-keys."
                )

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(f"the request's body exceeds {self._limit} bytes", code="too_large")


def _host(value: bytes) -> str:
    """Without its port."""
    text = value.decode("latin-1").lower()
    return text.rpartition(":")[0] if text.rpartition("]")[2].startswith(":") or text.count(":") == 1 else text
