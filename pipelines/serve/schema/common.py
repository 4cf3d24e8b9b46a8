"""What the documents have in common."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

# The longest ISO 8601 time has 35 characters.
MAX_TIME = 100

# Names and addresses of videos; the longest path of common file systems.
MAX_VIDEO = 4096

VideoName = Annotated[str, Field(min_length=1, max_length=MAX_VIDEO)]
Time = Annotated[str, Field(max_length=MAX_TIME)] | Annotated[float, Field(allow_inf_nan=False)]


class Sparse(BaseModel):
    """A document that leaves out what is null: clients of a stream take a field that is there for news."""

    @model_serializer(mode="wrap")
    def _without_none(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class LooseRequest(BaseModel):
    """Strict: a "1" or true where a number is due is a client's mistake and should be seen. Fields beyond those listed
    are kept, since whether they may be ignored depends on their values (see request.py).
    """

    model_config = ConfigDict(strict=True, extra="allow")


class Status(BaseModel):
    """How a part of the service is."""

    status: str


class Ready(Status):
    """``calibration``: ``calibrated``, ``none``, ``other model`` or ``unreadable``; see ``videox2l calibrate``.

    ``outside_calibration``: of what was asked so far, what it did not find good enough, as one engine has seen it.
    """

    calibration: str
    outside_calibration: list[str]


class ErrorBody(BaseModel):
    """What was wrong, where, and what to do about it."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """OpenAI's error document."""

    error: ErrorBody
