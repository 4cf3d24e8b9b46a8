"""What all routes have in common: who is asking comes first, and every error is a document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from pipelines.serve.errors import RateLimitedError, error_response
from pipelines.serve.schema.common import ErrorResponse

_DESCRIPTIONS = {
    400: "The request or the question cannot be answered as it stands",
    401: "The service needs an API key, and this is none",
    403: "The API key is not for this",
    404: "There is none",
    409: "The video was ingested with another model, or the archive was changed meanwhile",
    413: "The request is too large",
    421: "The request is addressed to another host",
    429: "The API key asks too often; `Retry-After` says when to try again",
    431: "The request's headers are too large",
    500: "Stored data are damaged, or something went wrong that should not",
    503: "Overloaded or not ready; `Retry-After` says when to try again",
}
_ALWAYS = (413, 421, 431, 500)
_GUARDED = (401, 429)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of an operation, for its description."""
    return {
        status: {"model": ErrorResponse, "description": _DESCRIPTIONS[status]}
        for status in sorted({*statuses, *_ALWAYS})
    }


class _OpenRoute(APIRoute):
    """A route whose every exception becomes an error document."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                self.enter(request)
                return await handle(request)
            except Exception as error:  # whatever it is, the client gets a document, and only the log a traceback
                return error_response(error)

        return answer

    def enter(self, request: Request) -> None:
        """What is done before anything of the request is parsed."""


class _GuardedRoute(_OpenRoute):
    """A route that wants to know who is asking."""

    def enter(self, request: Request) -> None:
        backend = request.app.state.backend
        access = request.state.access = backend.gate.enter(request)
        if access.key is not None:
            try:
                backend.gate.limits.admit(access.key)
            except RateLimitedError:
                backend.metrics.count("rate_limited_total", key=access.key.name)
                raise


_BEARER = HTTPBearer(auto_error=False, description="A key of `videox2l keys`, where the service has any.")


def open_router() -> APIRouter:
    """For routes that anybody may use."""
    return APIRouter(route_class=_OpenRoute)


def guarded_router() -> APIRouter:
    """For routes that need a key, where there are keys."""
    return APIRouter(route_class=_GuardedRoute, dependencies=[Security(_BEARER)], responses=errors(*_GUARDED))
