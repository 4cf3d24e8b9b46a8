"""Answers as rows: what a question came to, its evidence and its cost."""

from __future__ import annotations

import dataclasses
from typing import Any

import pyarrow as pa

from videox2l.answering import Answer
from videox2l.errors import VideoX2LError

ROW = "row"
"""Where an answer belongs in the output. Only in parts: the output itself is in that order."""

_BYTES = pa.struct([(level, pa.int64()) for level in ("prompt", "high", "low")])
_TIMES = [("chunk", pa.int32()), ("start_s", pa.float64()), ("end_s", pa.float64())]

ANSWER_SCHEMA = pa.schema(
    [
        ("answer", pa.string()),
        ("finish_reason", pa.string()),
        ("error", pa.string()),
        ("error_code", pa.string()),
        ("spans", pa.list_(pa.struct([*_TIMES, ("score", pa.float64())]))),
        ("degraded", pa.list_(pa.struct([*_TIMES, ("reason", pa.string())]))),
        ("bytes_read", _BYTES),
        ("bytes_used", _BYTES),
        ("milliseconds", pa.float64()),
        ("memory_tokens", pa.int32()),
        ("question_tokens", pa.int32()),
        ("answer_tokens", pa.int32()),
    ]
)

PART_SCHEMA = pa.schema([(ROW, pa.int64()), *ANSWER_SCHEMA])


def answered(row: int, answer: Answer) -> dict[str, Any]:
    """A row of :data:`PART_SCHEMA`."""
    receipt = answer.receipt
    return {
        ROW: row,
        "answer": answer.text,
        "finish_reason": answer.finish_reason,
        "spans": [dataclasses.asdict(span) for span in answer.spans],
        "degraded": [dataclasses.asdict(span) for span in answer.degraded],
        "bytes_read": receipt.bytes_read,
        "bytes_used": receipt.bytes_used,
        "milliseconds": receipt.milliseconds["total"],
        "memory_tokens": receipt.memory_tokens,
        "question_tokens": receipt.question_tokens,
        "answer_tokens": receipt.answer_tokens,
    }


def failed(row: int, error: BaseException) -> dict[str, Any]:
    """The same for a question that has no answer. ``error_code``: the name of the error, for programs."""
    message = str(error) or type(error).__name__
    if not isinstance(error, VideoX2LError):
        message = f"{type(error).__name__}: {message}"
    return {ROW: row, "error": message, "error_code": type(error).__name__}


def to_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of :data:`PART_SCHEMA`; what they do not say is null."""
    return pa.Table.from_pylist(rows, PART_SCHEMA)
