"""The HTTP application: routes, and what every request passes on its way to them."""

from __future__ import annotations

import time
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import videox2l
from pipelines.serve.backend import Backend
from pipelines.serve.body import RequestLimits
from pipelines.serve.config import ServiceConfig
from pipelines.serve.errors import error_response
from pipelines.serve.metrics import ServiceMetrics
from pipelines.serve.routes import chat, ingests, models, sources, status, videos, web

_ROUTERS = (
    chat.router,
    models.router,
    videos.router,
    sources.router,
    sources.signed,
    ingests.router,
    status.probes,
    status.numbers,
    web.router,
)

# What a client that left before its answer began is counted as, as in nginx's logs.
_CLIENT_LEFT = "499"


def build_api(backend: Backend) -> FastAPI:
    """The application of one service."""
    app = describe_api()
    app.state.backend = backend
    config: ServiceConfig = backend.config
    # What is added last is passed first.
    app.add_middleware(RequestLimits, max_body_bytes=config.max_body_bytes, loopback_only=config.loopback_only)
    if config.allow_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.allow_origin),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Location", "Retry-After"],
        )
    app.add_middleware(_Counting, metrics=backend.metrics)
    return app


def describe_api() -> FastAPI:
    """The routes alone, with their OpenAPI description; they cannot be called."""
    app = _Api(title="Video-X²L", version=videox2l.__version__, description="Ask questions of very long videos.")
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(HTTPException, _http_error)
    return app


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Without FastAPI's own answer to a request that does not fit, in place of which there is a 400."""
        document = super().openapi()
        for path in document["paths"].values():
            for operation in path.values():
                operation["responses"].pop("422", None)
        return document


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    """Unknown paths and methods, which no route handles."""
    return error_response(error)


class _Counting:
    """ASGI middleware: counts requests by route and status, and takes their time."""

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, code = time.perf_counter(), _CLIENT_LEFT

        async def watched(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = str(message["status"])
            await send(message)

        self._metrics.running(1)
        try:
            await self._app(scope, receive, watched)
        finally:
            # The pattern, not the path: a series for each video would be too many.
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.running(-1)
            self._metrics.count("requests_total", route=route, method=_method(scope), status=code)
            self._metrics.observe("request_seconds", time.perf_counter() - began, route=route)
            if code == "503":
                self._metrics.count("overloaded_total")


def _method(scope: Scope) -> str:
    """What a client calls its method may be anything."""
    return scope["method"] if scope["method"] in ("GET", "POST", "DELETE", "HEAD", "OPTIONS") else "other"
