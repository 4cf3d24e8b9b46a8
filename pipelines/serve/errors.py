"""Every error as OpenAI's document ``{"error": {"message", "type", "param", "code"}}``.

Errors of a user keep their message; anything else is logged and answered without detail.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from starlette.exceptions import HTTPException

from pipelines.serve.schema.common import ErrorBody, ErrorResponse
from videox2l.answering import TimeRangeError
from videox2l.errors import (
    ArchiveError,
    ArchiveNotWritableError,
    QuestionError,
    QuestionTooLongError,
    VideoNotFoundError,
    VideoX2LError,
)
from videox2l.store.patience import StorageFailedError

logger = logging.getLogger("ray.serve")

# Seconds a refused client should wait: about one short answer, after which a place in the queue is free again.
RETRY_AFTER_S = 1

# An engine that died is loaded anew; that takes several seconds at least.
RESTART_AFTER_S = 10

# The first that fits counts.
_PARAMS: dict[type[VideoX2LError], str] = {
    VideoNotFoundError: "video",
    TimeRangeError: "videox2l",
    QuestionError: "messages",
}
# The code by which OpenAI's clients know to shorten a prompt.
_CODES: dict[type[VideoX2LError], str] = {QuestionTooLongError: "context_length_exceeded"}

# These themselves, not what is derived from them.
_STORAGE_FAILED: frozenset[type[Exception]] = frozenset({ArchiveError, ArchiveNotWritableError, StorageFailedError})


class RequestError(VideoX2LError):
    """A request asks for what this service does not do. ``param`` names the field, ``code`` is for programs."""

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.param = param
        self.code = code

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that belong to the answer."""
        return {}


class ModelNotFoundError(RequestError):
    """Another model than the served one is asked for."""

    http_status = 404


class JobNotFoundError(RequestError):
    """No such ingest."""

    http_status = 404


class ThumbnailNotFoundError(RequestError):
    """No such chunk, or no picture of it."""

    http_status = 404

    def __init__(self, message: str) -> None:
        super().__init__(message, "chunk", "thumbnail_not_found")


class SourceNotPlayableError(RequestError):
    """The video's source is not to be had, or not to be shown."""

    http_status = 404

    def __init__(self, message: str) -> None:
        super().__init__(message, code="source_not_playable")


class UnauthorizedError(RequestError):
    """No key, or none that is known."""

    http_status = 401

    def __init__(self, message: str) -> None:
        super().__init__(message, code="invalid_api_key")

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class ForbiddenError(RequestError):
    """The key is known, and not for this."""

    http_status = 403

    def __init__(self, message: str, param: str | None) -> None:
        super().__init__(message, param, "permission_denied")


class BodyTooLargeError(RequestError):
    """More than is taken in."""

    http_status = 413


class HeadersTooLargeError(RequestError):
    """More than is taken in."""

    http_status = 431


class WrongHostError(RequestError):
    """The request is addressed to another host than this machine."""

    http_status = 421


class RateLimitedError(RequestError):
    """A key asks more often than it may."""

    http_status = 429

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(f"{message}: try again in {math.ceil(wait_s)} s", code="rate_limit_exceeded")
        self.wait_s = wait_s

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(max(1, math.ceil(self.wait_s)))}


class QueueFullError(RequestError):
    """More ingests wait than are taken in."""

    http_status = 503

    def __init__(self, message: str) -> None:
        super().__init__(message, code="overloaded")

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(RESTART_AFTER_S)}


def error_response(error: Exception) -> JSONResponse:
    """The HTTP answer to ``error``."""
    status, body, headers = describe(error)
    return JSONResponse(ErrorResponse(error=body).model_dump(), status, headers)


def describe(error: Exception) -> tuple[int, ErrorBody, dict[str, str]]:
    """HTTP status, error document and headers for ``error``; logs what is not a user's."""
    error = unwrap(error)
    if type(error) in _STORAGE_FAILED:
        logger.error("%s", error)  # it names addresses, which are none of a client's business
        return _unavailable("the archive's storage does not answer: try again", "storage_unavailable", RESTART_AFTER_S)
    if isinstance(error, VideoX2LError):
        if error.http_status >= 500 and not isinstance(error, RequestError):
            logger.error("%s: %s", type(error).__name__, error)
        headers = error.headers if isinstance(error, RequestError) else {}
        return error.http_status, _user_error(error), headers
    if isinstance(error, RequestValidationError):
        return 400, _validation_error(error), {}
    if isinstance(error, HTTPException):
        return error.status_code, _body(str(error.detail), error.status_code), dict(error.headers or {})
    if isinstance(error, BackPressureError):
        return _unavailable("all engines are busy and the queue is full: try again", "overloaded", RETRY_AFTER_S)
    if isinstance(error, RayActorError | DeploymentUnavailableError | ReplicaUnavailableError):
        logger.error("An engine is gone: %s", error)
        return _unavailable(
            "the engine stopped and is being restarted: try again", "engine_restarting", RESTART_AFTER_S
        )
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return _unavailable("no engine answers yet: try again", "not_ready", RESTART_AFTER_S)
    logger.error("Internal error", exc_info=error)
    return 500, _body("internal error: the service's log has the details", 500, code="internal_error"), {}


def unwrap(error: Exception) -> Exception:
    """The exception an engine raised, out of Ray's wrapping, or what kept FastAPI from reading a body."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, Exception):
        error = error.cause
    if isinstance(error, HTTPException) and isinstance(error.__cause__, RequestError):
        return error.__cause__
    return error


def _user_error(error: VideoX2LError) -> ErrorBody:
    if isinstance(error, RequestError):
        return _body(str(error), error.http_status, error.param, error.code)
    kind = type(error)
    param = next((name for known, name in _PARAMS.items() if isinstance(error, known)), None)
    return _body(str(error), error.http_status, param, _CODES.get(kind, _snake_case(kind.__name__)))


def _validation_error(error: RequestValidationError) -> ErrorBody:
    # Of a field with several allowed forms pydantic lists every form's error; the deepest one is of the form meant.
    first: dict[str, Any] = max(error.errors(), key=lambda item: len(item["loc"]))
    if first["type"] == "json_invalid":
        detail = first.get("ctx", {}).get("error", "")
        return _body(f"the body is not valid JSON: {detail}".rstrip(": "), 400, code="invalid_json")
    path = [part for part in first["loc"][1:] if isinstance(part, int) or re.fullmatch(r"[a-z_]\w*", part)]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    return _body(f"{where or 'body'}: {first['msg']}", 400, where or None, code)


def _unavailable(message: str, code: str, retry_after_s: float) -> tuple[int, ErrorBody, dict[str, str]]:
    return 503, _body(message, 503, code=code), {"Retry-After": str(math.ceil(retry_after_s))}


def _body(message: str, status: int, param: str | None = None, code: str | None = None) -> ErrorBody:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return ErrorBody(message=message, type=kind, param=param, code=code)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.removesuffix("Error")).lower()
